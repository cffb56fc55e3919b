//! `#[derive(SharedState)]`: reads the declaration of a segment.

mod generate;

use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

use crate::tokens::{
    Refusal, Tokens, arguments_of, is_punct, is_word, skip_visibility, take_attributes,
    take_until_comma,
};

/// Longest name of an object that the directory of a segment has room for.
const MAX_NAME_BYTES: usize = 31;

/// Returns the implementation of `SharedState` for a structure.
pub fn derive(item: TokenStream) -> Result<TokenStream, Refusal> {
    Declaration::read(item).map(|declaration| declaration.implementation())
}

/// The declaration of a segment.
struct Declaration {
    name: Ident,
    args: Vec<Arg>,
    /// The expression of `participants = ...`.
    participants: Option<TokenStream>,
    /// The field that is the segment, and its type.
    segment: (Ident, TokenStream),
    fields: Vec<Field>,
}

/// A number that the creator of a segment chooses.
struct Arg {
    name: Ident,
    of_type: TokenStream,
}

/// A field that is an object of the segment.
struct Field {
    name: Ident,
    of_type: TokenStream,
    attribute: Attribute,
}

/// The content of the attribute of a field.
enum Attribute {
    None,
    Segment(Span),
    /// The type in `multiprocessing::declaration` and the expression.
    Size(&'static str, TokenStream),
    /// The field that is the lock of a condition.
    Lock(Ident),
}

impl Declaration {
    fn read(item: TokenStream) -> Result<Self, Refusal> {
        let mut tokens = item.into_iter().peekable();
        let attributes = take_attributes(&mut tokens);
        skip_visibility(&mut tokens);
        let keyword = tokens.next();
        let (true, Some(TokenTree::Ident(name))) =
            (is_word(keyword.as_ref(), "struct"), tokens.next())
        else {
            return Err(Refusal::new(Span::call_site(), "only a structure can declare a segment"));
        };
        let fields = match tokens.next() {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => group,
            _ => {
                return Err(Refusal::new(
                    name.span(),
                    "a SharedState structure has named fields, which name the objects, and no \
                     generic parameters",
                ));
            }
        };
        let (args, participants) = read_options(&attributes)?;
        let mut segment = None;
        let mut objects = Vec::new();
        for field in read_fields(&fields)? {
            match field.attribute {
                Attribute::Segment(span) if segment.is_some() => {
                    return Err(Refusal::new(span, "only one field can be the segment"));
                }
                Attribute::Segment(_) => segment = Some((field.name, field.of_type)),
                _ => objects.push(field),
            }
        }
        let Some(segment) = segment else {
            return Err(Refusal::new(
                name.span(),
                "a SharedState structure needs a field `#[shared(segment)] segment: Segment`: the \
                 segment is removed when its creator drops that",
            ));
        };
        let declaration = Self { name, args, participants, segment, fields: objects };
        declaration.check_locks()?;
        Ok(declaration)
    }

    /// Checks that the lock of each condition is a field that needs no attribute.
    fn check_locks(&self) -> Result<(), Refusal> {
        for field in &self.fields {
            let Attribute::Lock(lock) = &field.attribute else { continue };
            let is_lock = |other: &Field| {
                other.name.to_string() == lock.to_string()
                    && matches!(other.attribute, Attribute::None)
            };
            if !self.fields.iter().any(is_lock) {
                let reason = format!("`{lock}` is not a field of this structure that is a lock");
                return Err(Refusal::new(lock.span(), reason));
            }
        }
        Ok(())
    }
}

/// Reads `args(...)` and `participants = ...` from the attributes of the structure.
fn read_options(attributes: &[TokenStream]) -> Result<(Vec<Arg>, Option<TokenStream>), Refusal> {
    let (mut args, mut participants) = (Vec::new(), None);
    for options in attributes.iter().filter_map(|attribute| arguments_of(attribute, "shared")) {
        let mut tokens = options.stream().into_iter().peekable();
        while let Some(key) = tokens.next() {
            if is_word(Some(&key), "args")
                && let Some(TokenTree::Group(list)) = tokens.next()
            {
                args.extend(read_args(&list)?);
                tokens.next_if(|token| is_punct(token, ','));
            } else if is_word(Some(&key), "participants") {
                participants = Some(take_value(&mut tokens, key.span())?);
            } else {
                return Err(Refusal::new(
                    key.span(),
                    "expected `args(name: type, ...)` or `participants = ...`",
                ));
            }
        }
    }
    Ok((args, participants))
}

fn read_args(list: &Group) -> Result<Vec<Arg>, Refusal> {
    let mut tokens = list.stream().into_iter().peekable();
    let mut args = Vec::new();
    while tokens.peek().is_some() {
        let (Some(TokenTree::Ident(name)), Some(colon)) = (tokens.next(), tokens.next()) else {
            return Err(Refusal::new(list.span(), "expected `name: type`"));
        };
        let of_type = take_until_comma(&mut tokens);
        if !is_punct(&colon, ':') || of_type.is_empty() {
            return Err(Refusal::new(name.span(), "expected `name: type`"));
        }
        args.push(Arg { name, of_type });
    }
    Ok(args)
}

fn read_fields(fields: &Group) -> Result<Vec<Field>, Refusal> {
    let mut tokens = fields.stream().into_iter().peekable();
    let mut read = Vec::new();
    while tokens.peek().is_some() {
        let attributes = take_attributes(&mut tokens);
        skip_visibility(&mut tokens);
        // The compiler accepts only structures whose fields are a name, a colon and a type.
        let Some(TokenTree::Ident(name)) = tokens.next() else { break };
        tokens.next();
        let of_type = take_until_comma(&mut tokens);
        let attribute = read_attribute(&attributes)?;
        let bytes = object_name(&name).len();
        if bytes > MAX_NAME_BYTES && !matches!(attribute, Attribute::Segment(_)) {
            let reason = format!(
                "the name of a shared object has at most {MAX_NAME_BYTES} bytes, this one {bytes}"
            );
            return Err(Refusal::new(name.span(), reason));
        }
        read.push(Field { name, of_type, attribute });
    }
    Ok(read)
}

/// Returns the name that the directory gives to the object of a field.
fn object_name(field: &Ident) -> String {
    field.to_string().trim_start_matches("r#").to_owned()
}

fn read_attribute(attributes: &[TokenStream]) -> Result<Attribute, Refusal> {
    let mut read = Attribute::None;
    for options in attributes.iter().filter_map(|attribute| arguments_of(attribute, "shared")) {
        let mut tokens = options.stream().into_iter().peekable();
        while let Some(key) = tokens.next() {
            let span = key.span();
            if !matches!(read, Attribute::None) {
                return Err(Refusal::new(span, "a shared object has at most one attribute"));
            }
            read = match key.to_string().as_str() {
                "segment" => {
                    tokens.next_if(|token| is_punct(token, ','));
                    Attribute::Segment(span)
                }
                "len" => Attribute::Size("Len", take_value(&mut tokens, span)?),
                "units" => Attribute::Size("Units", take_value(&mut tokens, span)?),
                "parties" => Attribute::Size("Parties", take_value(&mut tokens, span)?),
                "capacity" => Attribute::Size("Capacity", take_value(&mut tokens, span)?),
                "lock" => match only_ident(&take_value(&mut tokens, span)?) {
                    Some(lock) => Attribute::Lock(lock),
                    None => return Err(Refusal::new(span, "expected `lock = field`")),
                },
                _ => {
                    return Err(Refusal::new(
                        span,
                        "expected `segment`, `len`, `units`, `parties`, `capacity` or `lock`",
                    ));
                }
            };
        }
    }
    Ok(read)
}

/// Reads `= expression`, up to a comma.
fn take_value(tokens: &mut Tokens, key: Span) -> Result<TokenStream, Refusal> {
    let assigned = tokens.next_if(|token| is_punct(token, '=')).is_some();
    let value = take_until_comma(tokens);
    if !assigned || value.is_empty() {
        return Err(Refusal::new(key, "expected `= ...` after this"));
    }
    Ok(value)
}

/// Returns the identifier that an expression consists of, if it is a single one.
fn only_ident(expression: &TokenStream) -> Option<Ident> {
    let mut tokens = expression.clone().into_iter();
    match (tokens.next(), tokens.next()) {
        (Some(TokenTree::Ident(ident)), None) => Some(ident),
        _ => None,
    }
}

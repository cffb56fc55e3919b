//! `#[derive(Shareable)]`: checks that a structure is plain bytes and implements the trait for it.

use proc_macro::{Delimiter, Group, Span, TokenStream, TokenTree};

use crate::tokens::{
    Refusal, arguments_of, group, is_word, skip_visibility, source, take_attributes,
    take_until_comma,
};

/// Returns the implementation of `Shareable` for a structure.
pub fn derive(item: TokenStream) -> Result<TokenStream, Refusal> {
    Structure::read(item)
        .map(Structure::implementation)
        .map_err(|reason| Refusal::new(Span::call_site(), reason))
}

/// The parts of a structure that the derive needs.
struct Structure {
    name: TokenTree,
    fields: Vec<Field>,
}

struct Field {
    /// Its name, or its number in a tuple.
    name: String,
    /// With its span, so that the compiler points at the wrong one.
    kind: TokenStream,
}

impl Structure {
    fn read(item: TokenStream) -> Result<Self, &'static str> {
        let mut tokens = item.into_iter().peekable();
        let defined_layout = take_attributes(&mut tokens).iter().any(defines_layout);
        skip_visibility(&mut tokens);
        if !is_word(tokens.next().as_ref(), "struct") {
            return Err(
                "only a structure can be Shareable: not every number is a variant of an enum, and a \
                 union hides a type",
            );
        }
        let name = tokens.next().ok_or("a structure needs a name")?;
        let fields = match tokens.next() {
            Some(TokenTree::Group(group)) => split_fields(&group),
            Some(TokenTree::Punct(punct)) if punct.as_char() == ';' => Vec::new(),
            _ => {
                return Err(
                    "a Shareable structure has no generic parameters: its layout must be known here",
                );
            }
        };
        if !defined_layout {
            return Err(
                "a Shareable structure needs #[repr(C)] or #[repr(transparent)]: without it every \
                 program may order the fields differently",
            );
        }
        Ok(Self { name, fields })
    }

    fn implementation(self) -> TokenStream {
        let (mut sizes, mut elements) = (TokenStream::new(), TokenStream::new());
        for Field { kind, .. } in &self.fields {
            sizes.extend([source("+ ::core::mem::size_of::<"), kind.clone(), source(">()")]);
            elements.extend([
                source("<"),
                kind.clone(),
                source("as ::multiprocessing::Shareable>::ELEMENT,"),
            ]);
        }
        let name = || TokenStream::from(self.name.clone());
        let mut check = source("::core::mem::size_of::<");
        check.extend([name(), source(">() == 0"), sizes]);
        check.extend(source(
            ", \"a Shareable structure has no padding: order its fields by size and name what is \
             left over\"",
        ));
        let mut body = source(
            "const ELEMENT: ::multiprocessing::ElementType = ::multiprocessing::ElementType::common",
        );
        body.extend([
            group(Delimiter::Parenthesis, [source("&"), group(Delimiter::Bracket, [elements])]),
            source(";"),
        ]);
        body.extend([
            source("fn schema() -> ::std::string::String"),
            group(Delimiter::Brace, [self.schema()]),
        ]);
        // SAFETY of the generated code: all fields are Shareable, because `elements` names
        // their trait. Their order is defined. `check` rules out padding between them and at the
        // end. The trait requires `Copy`, which rules out a destructor.
        let mut implementation = source("const _: () = ::core::assert!");
        implementation.extend([group(Delimiter::Parenthesis, [check]), source(";")]);
        implementation.extend(source(
            "#[automatically_derived] unsafe impl ::multiprocessing::Shareable for",
        ));
        implementation.extend([name(), group(Delimiter::Brace, [body])]);
        implementation
    }

    /// Returns an expression for the schema of the structure.
    fn schema(&self) -> TokenStream {
        let mut fields = TokenStream::new();
        for Field { name, kind } in &self.fields {
            let mut field = source(&format!("{name:?}, <"));
            field.extend([
                kind.clone(),
                source("as ::multiprocessing::Shareable>::schema(), ::core::mem::size_of::<"),
                kind.clone(),
                source(">() / <"),
                kind.clone(),
                source("as ::multiprocessing::Shareable>::BASE_BYTES,"),
                source(&format!("::core::mem::offset_of!({}, {name})", self.name)),
            ]);
            fields.extend([group(Delimiter::Parenthesis, [field]), source(",")]);
        }
        let mut schema = source("::multiprocessing::declaration::structure");
        let fields = group(Delimiter::Bracket, [fields]);
        schema.extend(group(Delimiter::Parenthesis, [source("&"), fields]));
        schema
    }
}

/// Returns what is in the braces or parentheses of a structure.
fn split_fields(fields: &Group) -> Vec<Field> {
    let named = fields.delimiter() == Delimiter::Brace;
    let mut found = Vec::new();
    let mut tokens = fields.stream().into_iter().peekable();
    while tokens.peek().is_some() {
        take_attributes(&mut tokens);
        skip_visibility(&mut tokens);
        let mut name = found.len().to_string();
        if named {
            name = tokens.next().map(|name| name.to_string()).unwrap_or_default();
            // The colon.
            tokens.next();
        }
        found.push(Field { name, kind: take_until_comma(&mut tokens) });
    }
    found
}

/// Returns true if an attribute is a `repr` that defines the order of the fields.
fn defines_layout(attribute: &TokenStream) -> bool {
    let Some(layouts) = arguments_of(attribute, "repr") else { return false };
    let defining =
        |word: &TokenTree| is_word(Some(word), "C") || is_word(Some(word), "transparent");
    layouts.stream().into_iter().any(|word| defining(&word))
}

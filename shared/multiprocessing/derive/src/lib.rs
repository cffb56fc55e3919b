//! `#[derive(Shareable)]` of the crate shm-multiprocessing, which exports it and documents it. It reads the tokens by itself, so
//! that it needs no other crate.

use std::iter::Peekable;

use proc_macro::{Delimiter, Group, Spacing, TokenStream, TokenTree, token_stream::IntoIter};

/// Makes a structure one that processes can share. See the trait of the same name.
#[proc_macro_derive(Shareable)]
pub fn shareable(item: TokenStream) -> TokenStream {
    match Structure::read(item) {
        Ok(structure) => structure.implementation(),
        Err(reason) => source(&format!("::core::compile_error!({reason:?});")),
    }
}

/// What matters of a structure.
struct Structure {
    name: TokenTree,
    /// The types of its fields, as they were written, so that the compiler points at the one that is wrong.
    fields: Vec<TokenStream>,
}

impl Structure {
    fn read(item: TokenStream) -> Result<Self, &'static str> {
        let mut tokens = item.into_iter().peekable();
        let defined_layout = skip_attributes(&mut tokens);
        skip_visibility(&mut tokens);
        if !is_word(tokens.next().as_ref(), "struct") {
            return Err(
                "only a structure can be Shareable: not every number is a variant of an enum, and a union hides a type",
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
                "a Shareable structure needs #[repr(C)] or #[repr(transparent)]: without it every program may order the fields differently",
            );
        }
        Ok(Self { name, fields })
    }

    fn implementation(self) -> TokenStream {
        let (mut sizes, mut elements) = (TokenStream::new(), TokenStream::new());
        for field in &self.fields {
            sizes.extend([source("+ ::core::mem::size_of::<"), field.clone(), source(">()")]);
            elements.extend([
                source("<"),
                field.clone(),
                source("as ::multiprocessing::Shareable>::ELEMENT,"),
            ]);
        }
        let name = || TokenStream::from(self.name.clone());
        let mut check = source("::core::mem::size_of::<");
        check.extend([name(), source(">() == 0"), sizes]);
        check.extend(source(
            ", \"a Shareable structure has no padding: order its fields by size and name what is left over\"",
        ));
        let mut body = source(
            "const ELEMENT: ::multiprocessing::ElementType = ::multiprocessing::ElementType::common",
        );
        body.extend([
            group(Delimiter::Parenthesis, [source("&"), group(Delimiter::Bracket, [elements])]),
            source(";"),
        ]);
        // SAFETY of what is written here: the fields are Shareable (`elements` asks for that) in a defined order, there is nothing
        // between them or behind (`check`), and `Copy`, which the trait asks for, rules out a destructor.
        let mut implementation = source("const _: () = ::core::assert!");
        implementation.extend([group(Delimiter::Parenthesis, [check]), source(";")]);
        implementation.extend(source(
            "#[automatically_derived] unsafe impl ::multiprocessing::Shareable for",
        ));
        implementation.extend([name(), group(Delimiter::Brace, [body])]);
        implementation
    }
}

/// The types in the braces or parentheses of a structure.
fn split_fields(fields: &Group) -> Vec<TokenStream> {
    let named = fields.delimiter() == Delimiter::Brace;
    let mut types = Vec::new();
    let mut tokens = fields.stream().into_iter().peekable();
    while tokens.peek().is_some() {
        skip_attributes(&mut tokens);
        skip_visibility(&mut tokens);
        if named {
            // The name and the colon.
            tokens.nth(1);
        }
        types.push(take_type(&mut tokens));
    }
    types
}

/// Everything up to the comma that ends a type.
fn take_type(tokens: &mut Peekable<IntoIter>) -> TokenStream {
    let (mut of_type, mut depth, mut arrow) = (TokenStream::new(), 0_usize, false);
    for token in tokens {
        if let TokenTree::Punct(punct) = &token {
            match punct.as_char() {
                ',' if depth == 0 => break,
                '<' => depth += 1,
                // The head of an arrow closes nothing.
                '>' if !arrow => depth = depth.saturating_sub(1),
                _ => {}
            }
            arrow = punct.as_char() == '-' && punct.spacing() == Spacing::Joint;
        }
        of_type.extend([token]);
    }
    of_type
}

/// Skips attributes. Whether one of them defines the layout.
fn skip_attributes(tokens: &mut Peekable<IntoIter>) -> bool {
    let mut defined_layout = false;
    while matches!(tokens.peek(), Some(TokenTree::Punct(punct)) if punct.as_char() == '#') {
        tokens.next();
        let Some(TokenTree::Group(attribute)) = tokens.next() else { return false };
        let mut words = attribute.stream().into_iter();
        if is_word(words.next().as_ref(), "repr")
            && let Some(TokenTree::Group(layouts)) = words.next()
        {
            let mut layouts = layouts.stream().into_iter();
            defined_layout |= layouts
                .any(|word| is_word(Some(&word), "C") || is_word(Some(&word), "transparent"));
        }
    }
    defined_layout
}

fn skip_visibility(tokens: &mut Peekable<IntoIter>) {
    if !is_word(tokens.peek(), "pub") {
        return;
    }
    tokens.next();
    // `pub(crate)`; not `pub (u8, u8)`, which is public and a tuple, and so no field that could be shared.
    tokens.next_if(
        |token| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis),
    );
}

fn is_word(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident.to_string() == word)
}

fn group(delimiter: Delimiter, content: impl IntoIterator<Item = TokenStream>) -> TokenStream {
    TokenTree::Group(Group::new(delimiter, content.into_iter().collect())).into()
}

/// Tokens of a text that is known to be made of whole ones.
fn source(text: &str) -> TokenStream {
    text.parse().unwrap_or_default()
}

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
    /// The types of its fields, with their spans, so that the compiler points at the wrong one.
    fields: Vec<TokenStream>,
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
}

/// Returns the types in the braces or parentheses of a structure.
fn split_fields(fields: &Group) -> Vec<TokenStream> {
    let named = fields.delimiter() == Delimiter::Brace;
    let mut types = Vec::new();
    let mut tokens = fields.stream().into_iter().peekable();
    while tokens.peek().is_some() {
        take_attributes(&mut tokens);
        skip_visibility(&mut tokens);
        if named {
            // The name and the colon.
            tokens.nth(1);
        }
        types.push(take_until_comma(&mut tokens));
    }
    types
}

/// Returns true if an attribute is a `repr` that defines the order of the fields.
fn defines_layout(attribute: &TokenStream) -> bool {
    let Some(layouts) = arguments_of(attribute, "repr") else { return false };
    let defining =
        |word: &TokenTree| is_word(Some(word), "C") || is_word(Some(word), "transparent");
    layouts.stream().into_iter().any(|word| defining(&word))
}

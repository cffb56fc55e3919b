//! Functions that both derives use to read and write tokens without another crate.

use std::iter::Peekable;

use proc_macro::{
    Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree,
    token_stream::IntoIter,
};

/// The tokens that are still to be read.
pub type Tokens = Peekable<IntoIter>;

/// Why a derive refuses a structure, and the place that the compiler reports.
pub struct Refusal {
    pub reason: String,
    pub span: Span,
}

impl Refusal {
    pub fn new(span: Span, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), span }
    }

    /// Returns a `compile_error!` that is reported at the span.
    pub fn into_error(self) -> TokenStream {
        let mut reason = Literal::string(&self.reason);
        reason.set_span(self.span);
        let mut tokens = TokenStream::new();
        for word in ["core", "compile_error"] {
            tokens.extend([punct(':', Spacing::Joint), punct(':', Spacing::Alone)]);
            tokens.extend([TokenTree::from(Ident::new(word, self.span))]);
        }
        tokens.extend([punct('!', Spacing::Alone)]);
        tokens.extend(group(Delimiter::Brace, [TokenTree::from(reason).into()]));
        // So the compiler marks the whole call.
        tokens.into_iter().map(|token| spanned(token, self.span)).collect()
    }
}

fn spanned(mut token: TokenTree, span: Span) -> TokenTree {
    token.set_span(span);
    token
}

fn punct(char: char, spacing: Spacing) -> TokenTree {
    Punct::new(char, spacing).into()
}

/// Reads all attributes at this place. Returns the tokens in the brackets of each.
pub fn take_attributes(tokens: &mut Tokens) -> Vec<TokenStream> {
    let mut attributes = Vec::new();
    while tokens.next_if(|token| is_punct(token, '#')).is_some() {
        if let Some(TokenTree::Group(attribute)) = tokens.next() {
            attributes.push(attribute.stream());
        }
    }
    attributes
}

/// Returns the content of the parentheses of an attribute, if it has this name.
pub fn arguments_of(attribute: &TokenStream, name: &str) -> Option<Group> {
    let mut tokens = attribute.clone().into_iter();
    match (tokens.next(), tokens.next()) {
        (first, Some(TokenTree::Group(group))) if is_word(first.as_ref(), name) => Some(group),
        _ => None,
    }
}

/// Skips `pub` and `pub(crate)`.
pub fn skip_visibility(tokens: &mut Tokens) {
    if !is_word(tokens.peek(), "pub") {
        return;
    }
    tokens.next();
    // Not `pub (u8, u8)`, which is a public field whose type is a tuple. No tuple can be shared, so
    // the derive refuses that field anyway.
    tokens.next_if(
        |token| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis),
    );
}

/// Reads up to the comma that ends a type or an expression, and drops the comma.
pub fn take_until_comma(tokens: &mut Tokens) -> TokenStream {
    let (mut taken, mut depth, mut arrow) = (TokenStream::new(), 0_usize, false);
    for token in tokens {
        if let TokenTree::Punct(punct) = &token {
            match punct.as_char() {
                ',' if depth == 0 => break,
                '<' => depth += 1,
                // The `>` of an arrow closes nothing.
                '>' if !arrow => depth = depth.saturating_sub(1),
                _ => {}
            }
            arrow = punct.as_char() == '-' && punct.spacing() == Spacing::Joint;
        }
        taken.extend([token]);
    }
    taken
}

pub fn is_word(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident.to_string() == word)
}

pub fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

/// Returns tokens in delimiters.
pub fn group(delimiter: Delimiter, content: impl IntoIterator<Item = TokenStream>) -> TokenStream {
    TokenTree::Group(Group::new(delimiter, content.into_iter().collect())).into()
}

/// Returns the tokens of a text that is known to be valid.
pub fn source(text: &str) -> TokenStream {
    text.parse().unwrap_or_default()
}

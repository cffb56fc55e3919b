//! Writes the implementation of `SharedState` for a declaration.

use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

use super::{Arg, Attribute, Declaration, Field, object_name, only_ident};
use crate::tokens::{group, source};

impl Declaration {
    pub(super) fn implementation(&self) -> TokenStream {
        let mut types = TokenStream::new();
        let mut names = TokenStream::new();
        for Arg { name, of_type } in &self.args {
            types.extend([of_type.clone(), source(",")]);
            names.extend([TokenTree::from(name.clone()).into(), source(",")]);
        }
        // One argument is not wrapped in a tuple.
        if let [Arg { name, of_type }] = self.args.as_slice() {
            types = of_type.clone();
            names = TokenTree::from(name.clone()).into();
        }
        let in_parentheses = |tokens| group(Delimiter::Parenthesis, [tokens]);
        let mut body = source("type Args =");
        body.extend([in_parentheses(types), source("; type Segment =")]);
        body.extend([self.segment.1.clone(), source(";")]);
        body.extend(source("#[allow(unused_parens)] fn plan"));
        let mut parameter = in_parentheses(names);
        parameter.extend(source(": <Self as ::multiprocessing::SharedState>::Args"));
        body.extend([in_parentheses(parameter), source("-> ::multiprocessing::Plan")]);
        body.extend(group(Delimiter::Brace, [self.plan()]));
        body.extend(local(
            "fn of(segment: <Self as ::multiprocessing::SharedState>::Segment)
                -> ::core::result::Result<Self, ::multiprocessing::SegmentError>",
        ));
        body.extend(group(Delimiter::Brace, [self.lookup()]));
        let mut implementation =
            source("#[automatically_derived] impl ::multiprocessing::SharedState for");
        implementation.extend([TokenTree::from(self.name.clone())]);
        implementation.extend(group(Delimiter::Brace, [body]));
        implementation
    }

    /// Writes the body of `plan`.
    fn plan(&self) -> TokenStream {
        let mut body = local("let plan = ::multiprocessing::Plan::new();");
        if let Some(participants) = &self.participants {
            body.extend(local("let plan = plan.participants"));
            body.extend([group(Delimiter::Parenthesis, [participants.clone()]), source(";")]);
        }
        for field in &self.fields {
            let name = object_name(&field.name);
            body.extend(local("let plan ="));
            if let Attribute::Lock(_) = field.attribute {
                body.extend(local(&format!("plan.condition({name:?});")));
                continue;
            }
            body.extend([field.declared(), source("::add")]);
            let mut arguments = local(&format!("plan, {name:?},"));
            arguments.extend(field.size());
            body.extend([group(Delimiter::Parenthesis, [arguments]), source(";")]);
        }
        body.extend(local("plan"));
        body
    }

    /// Writes the body of `of`.
    fn lookup(&self) -> TokenStream {
        let mut body = TokenStream::new();
        let known: Vec<_> = self.args.iter().filter_map(|arg| self.read_back(arg)).collect();
        for (name, field) in &known {
            body.extend(source("let"));
            body.extend([TokenTree::from((*name).clone())]);
            let mut handle = source("&");
            handle.extend(field.found(local("::core::option::Option::None")));
            body.extend([source("="), field.declared(), source("::size")]);
            body.extend([group(Delimiter::Parenthesis, [handle]), source(".0;")]);
        }
        // The locks of the conditions come before the conditions.
        let (conditions, objects): (Vec<_>, Vec<_>) =
            self.fields.iter().partition(|field| matches!(field.attribute, Attribute::Lock(_)));
        for field in objects {
            let mut size = local("::core::option::Option::");
            if self.is_known(field, &known) {
                size.extend([source("Some"), group(Delimiter::Parenthesis, [field.size()])]);
            } else {
                size.extend(source("None"));
            }
            body.extend(field.bound(field.found(size)));
        }
        for field in conditions {
            let Attribute::Lock(lock) = &field.attribute else { continue };
            let mut arguments = local(&format!("{:?}, &", object_name(&field.name)));
            arguments.extend([local_name(lock)]);
            let mut found = local("segment.condition");
            found.extend([group(Delimiter::Parenthesis, [arguments]), source("?")]);
            body.extend(field.bound(found));
        }
        let mut fields = TokenStream::new();
        for field in &self.fields {
            fields.extend([TokenTree::from(field.name.clone()).into(), source(":")]);
            fields.extend([TokenStream::from(local_name(&field.name)), source(",")]);
        }
        fields.extend([TokenTree::from(self.segment.0.clone()).into(), local(": segment")]);
        body.extend(source("::core::result::Result::Ok"));
        let mut structure = source("Self");
        structure.extend(group(Delimiter::Brace, [fields]));
        body.extend(group(Delimiter::Parenthesis, [structure]));
        body
    }

    /// Returns the first field whose size is this argument and can be read from a segment.
    fn read_back<'a>(&'a self, arg: &'a Arg) -> Option<(&'a Ident, &'a Field)> {
        let field = self.fields.iter().find(|field| match &field.attribute {
            Attribute::Size(kind, size) if *kind != "Units" => {
                only_ident(size).is_some_and(|it| it.to_string() == arg.name.to_string())
            }
            _ => false,
        })?;
        Some((&arg.name, field))
    }

    /// Returns true if the size of a field depends on no argument other than the known ones.
    fn is_known(&self, field: &Field, known: &[(&Ident, &Field)]) -> bool {
        let Attribute::Size(_, size) = &field.attribute else { return true };
        let unknown =
            |arg: &&Arg| known.iter().all(|(name, _)| name.to_string() != arg.name.to_string());
        let mut unknown = self.args.iter().filter(unknown);
        !unknown.any(|arg| mentions(size, &arg.name))
    }
}

impl Field {
    /// Writes `<Type as Declared<Size>>`, with the span of the type.
    fn declared(&self) -> TokenStream {
        let attribute = match self.attribute {
            Attribute::Size(kind, _) => kind,
            _ => "NoAttribute",
        };
        let mut declared = source("<");
        declared.extend(self.of_type.clone());
        declared.extend(source(&format!(
            "as ::multiprocessing::declaration::Declared<::multiprocessing::declaration::{attribute}>>"
        )));
        declared
    }

    /// Writes the size of the object, as a value of a type in `multiprocessing::declaration`.
    fn size(&self) -> TokenStream {
        let Attribute::Size(kind, expression) = &self.attribute else {
            return source("::multiprocessing::declaration::NoAttribute(())");
        };
        let mut size = source(&format!("::multiprocessing::declaration::{kind}"));
        size.extend(group(Delimiter::Parenthesis, [expression.clone()]));
        size
    }

    /// Writes the look-up of the object, with the error returned to the caller.
    fn found(&self, size: TokenStream) -> TokenStream {
        let mut arguments = local(&format!("&segment, {:?},", object_name(&self.name)));
        arguments.extend(size);
        let mut found = self.declared();
        found.extend([source("::find"), group(Delimiter::Parenthesis, [arguments]), source("?")]);
        found
    }

    /// Writes the statement that keeps the handle until the structure is built.
    fn bound(&self, handle: TokenStream) -> TokenStream {
        let mut statement = source("let");
        statement.extend([local_name(&self.name)]);
        statement.extend([source("="), handle, source(";")]);
        statement
    }
}

/// Returns tokens whose variables are separate from those of the program (hygiene), because a field
/// may have the name of an argument.
fn local(text: &str) -> TokenStream {
    fn hidden(token: TokenTree) -> TokenTree {
        match token {
            TokenTree::Group(group) => {
                let content = group.stream().into_iter().map(hidden).collect();
                Group::new(group.delimiter(), content).into()
            }
            mut token => {
                token.set_span(Span::mixed_site());
                token
            }
        }
    }
    source(text).into_iter().map(hidden).collect()
}

/// Returns the variable for the handle of a field.
fn local_name(field: &Ident) -> TokenTree {
    Ident::new(&format!("object_{}", object_name(field)), Span::mixed_site()).into()
}

/// Returns true if an expression contains an identifier.
fn mentions(expression: &TokenStream, name: &Ident) -> bool {
    expression.clone().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident.to_string() == name.to_string(),
        TokenTree::Group(group) => mentions(&group.stream(), name),
        _ => false,
    })
}

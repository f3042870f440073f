//! Reads the tokens of a `qmp!`, goes on after a mistake, and looks nothing up.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::{Expr, Ident, LitStr, Token, braced, bracketed, token};

use super::ast::{Array, Call, Field, Input, Name, Object, Value, Written};
use super::errors::Errors;

/// Whether `_` and `null` mean something of their own.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Anywhere outside an event filter.
    Plain,
    /// A value that an event's value is compared with, key by key.
    Filter,
    /// An array in an event filter: it is compared whole.
    FilterArray,
}

pub(super) fn parse(tokens: TokenStream, errors: &mut Errors) -> Input {
    let mut input = Input::Unknown;
    let outcome = (|stream: ParseStream<'_>| {
        input = whole(stream, errors)?;
        if !stream.is_empty() {
            let error =
                stream.error("unexpected token: a name may be followed by one `{ ... }`, and nothing else");
            return Err(error_and_rest(error, stream));
        }
        Ok(())
    })
    .parse2(tokens);
    if let Err(error) = outcome {
        errors.push(error);
    }
    input
}

/// Consumes what is left, so that syn does not add a complaint of its own about it.
fn error_and_rest(error: syn::Error, stream: ParseStream<'_>) -> syn::Error {
    let _ = stream.parse::<TokenStream>();
    error
}

fn whole(stream: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Input> {
    if stream.is_empty() {
        return Err(stream.error(
            "expected a command (`query_status`), an event (`STOP`), either with `{ ... }` after it, \
             or an object in braces",
        ));
    }
    if stream.peek(token::Brace) {
        return Ok(Input::Value(object(stream, Place::Plain, errors)?));
    }
    let Some(written) = name(stream, errors)? else {
        let error = stream.error("expected the name of a command or of an event, or an object in braces");
        return Err(error_and_rest(error, stream));
    };
    let event = matches!(&written, Written::Identifier(ident) if is_event(ident));
    let place = if event { Place::Filter } else { Place::Plain };
    let name = Name::new(written);
    let object = if stream.peek(token::Brace) {
        Some(object(stream, place, errors)?)
    } else {
        None
    };
    let _ = stream.parse::<Option<Token![,]>>()?;
    let call = Call {
        name,
        object,
        known_in: None,
    };
    Ok(if event {
        Input::Event(call)
    } else {
        Input::Command(call)
    })
}

/// QEMU spells events, and nothing else, in capitals.
fn is_event(ident: &Ident) -> bool {
    let name = ident.unraw().to_string();
    name.chars().any(|c| c.is_ascii_uppercase()) && !name.chars().any(|c| c.is_ascii_lowercase())
}

fn name(stream: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Option<Written>> {
    Ok(if stream.peek(LitStr) {
        Some(Written::Verbatim(stream.parse()?))
    } else if stream.peek(Ident::peek_any) {
        Some(Written::Identifier(identifier(stream, errors)?))
    } else {
        None
    })
}

/// One that was copied as QEMU spells it, `node-name`, is read as it should have been written.
fn identifier(stream: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Ident> {
    let first = stream.call(Ident::parse_any)?;
    let mut tokens = first.to_token_stream();
    let mut words = vec![first.unraw().to_string()];
    while stream.peek(Token![-]) && stream.peek2(Ident::peek_any) {
        stream.parse::<Token![-]>()?.to_tokens(&mut tokens);
        let word = stream.call(Ident::parse_any)?;
        word.to_tokens(&mut tokens);
        words.push(word.unraw().to_string());
    }
    if words.len() == 1 {
        return Ok(first);
    }
    let (wire, written) = (words.join("-"), words.join("_"));
    let message = format!("`{wire}` is written `{written}` here, or in quotes: `{wire:?}`");
    errors.push(syn::Error::new_spanned(tokens, message));
    Ok(Ident::new(&written, first.span()))
}

/// `{ field, field, ..expr }`. A mistake in one entry costs that entry only.
fn object(stream: ParseStream<'_>, place: Place, errors: &mut Errors) -> syn::Result<Object> {
    let content;
    let braces = braced!(content in stream);
    let mut object = Object {
        span: braces.span.join(),
        fields: Vec::new(),
        merge: None,
    };
    while !content.is_empty() {
        if let Err(error) = entry(&content, &mut object, place, errors) {
            errors.push(error);
            skip_entry(&content);
        } else if !content.is_empty() && !content.peek(Token![,]) {
            errors.push(content.error("expected `,` or the end of the object"));
            skip_entry(&content);
        }
        if content.peek(Token![,]) {
            content.parse::<Token![,]>()?;
        }
    }
    Ok(object)
}

fn entry(
    content: ParseStream<'_>,
    object: &mut Object,
    place: Place,
    errors: &mut Errors,
) -> syn::Result<()> {
    if content.peek(Token![..]) {
        let dots = content.parse::<Token![..]>()?;
        if content.is_empty() || content.peek(Token![,]) {
            let message = "`..` merges an object, which has to follow it";
            let message = match place {
                Place::Plain => message.to_owned(),
                _ => format!("{message}: what a filter does not name may be anything already"),
            };
            return Err(syn::Error::new_spanned(dots, message));
        }
        let merged = content.parse::<Expr>()?;
        if object.merge.is_some() {
            errors.push(syn::Error::new_spanned(
                dots,
                "only one `..` may stand in an object: merge the two before",
            ));
        }
        object.merge = Some(merged);
        return Ok(());
    }
    let Some(written) = name(content, errors)? else {
        return Err(
            content.error("expected a key: an identifier, a string literal, or `..` and an object to merge")
        );
    };
    let key = Name::new(written);
    if object.merge.is_some() {
        errors.add(
            key.span(),
            "`..` must come last: the keys written out win over what it merges",
        );
    }
    let question = content.parse::<Option<Token![?]>>()?;
    let value = if content.peek(Token![:]) && !content.peek(Token![::]) {
        content.parse::<Token![:]>()?;
        value(content, place, errors)
    } else if content.is_empty() || content.peek(Token![,]) {
        shorthand(&key).map(Value::Expr)
    } else {
        let hint = "a Rust block as a value goes in parentheses: `({ ... })`";
        Err(content.error(format!(
            "expected `:`, `?:` or `,` after the key `{}`; {hint}",
            key.source()
        )))
    };
    // The key stays where its value is unreadable: it is neither missing nor free to be given again.
    let value = match value {
        Ok(value) => value,
        Err(error) => {
            errors.push(error);
            skip_entry(content);
            Value::Unreadable
        }
    };
    if let Some(question) = question
        && !matches!(value, Value::Expr(_) | Value::Unreadable)
    {
        let message = "`?` leaves the key out where its value is `None`: the value must be an expression of type `Option`";
        errors.add(question.span, message);
    }
    object.fields.push(Field {
        key,
        optional: question.is_some(),
        value,
    });
    Ok(())
}

/// The variable of the key's name.
fn shorthand(key: &Name) -> syn::Result<Expr> {
    let Written::Identifier(ident) = &key.written else {
        return Err(syn::Error::new(
            key.span(),
            format!("a quoted key needs a value: `{}: value`", key.source()),
        ));
    };
    // Parsing tells which identifiers can name a variable.
    syn::parse2::<Ident>(ident.to_token_stream()).map_err(|_| {
        let message =
            format!("`{ident}` is a keyword and no variable: write `{ident}: value`, or `r#{ident}`");
        syn::Error::new(ident.span(), message)
    })?;
    syn::parse2(ident.to_token_stream())
}

fn value(stream: ParseStream<'_>, place: Place, errors: &mut Errors) -> syn::Result<Value> {
    if stream.is_empty() || stream.peek(Token![,]) {
        return Err(stream.error("expected a value"));
    }
    match lone_token(stream) {
        Some(TokenTree::Group(group))
            if group.delimiter() == Delimiter::Brace && !has_semicolon(&group.stream()) =>
        {
            // What is compared whole is compared with what it holds, too.
            return object(stream, place, errors).map(Value::Object);
        }
        Some(TokenTree::Group(group))
            if group.delimiter() == Delimiter::Bracket && !has_semicolon(&group.stream()) =>
        {
            let inside = if place == Place::Plain {
                Place::Plain
            } else {
                Place::FilterArray
            };
            return array(stream, inside, errors).map(Value::Array);
        }
        Some(TokenTree::Ident(ident)) if ident == "null" => {
            stream.parse::<TokenTree>()?;
            return Ok(Value::Null(ident.span()));
        }
        Some(TokenTree::Ident(ident)) if ident == "_" => {
            stream.parse::<TokenTree>()?;
            return any(ident.span(), place);
        }
        _ => {}
    }
    stream.parse().map(Value::Expr)
}

fn any(span: Span, place: Place) -> syn::Result<Value> {
    match place {
        Place::Filter => Ok(Value::Any),
        Place::FilterArray => Err(syn::Error::new(
            span,
            "`_` cannot stand inside an array, which is compared whole: put `_` in place of the array",
        )),
        Place::Plain => Err(syn::Error::new(
            span,
            "`_` has a meaning in event filters only: leave the key out, or `null` is what JSON calls nothing",
        )),
    }
}

/// `[value, value]`.
fn array(stream: ParseStream<'_>, place: Place, errors: &mut Errors) -> syn::Result<Array> {
    let content;
    let brackets = bracketed!(content in stream);
    let mut elements = Vec::new();
    while !content.is_empty() {
        let element = value(&content, place, errors).and_then(|element| {
            if content.is_empty() || content.peek(Token![,]) {
                Ok(element)
            } else {
                Err(content.error("expected `,` or the end of the array"))
            }
        });
        elements.push(element.unwrap_or_else(|error| {
            errors.push(error);
            skip_entry(&content);
            Value::Unreadable
        }));
        if content.peek(Token![,]) {
            content.parse::<Token![,]>()?;
        }
    }
    Ok(Array {
        span: brackets.span.join(),
        elements,
    })
}

/// The next token, where `,` or the end follows it: only then is it a value by itself, and not the start of a longer
/// expression such as `[1, 2].len()`.
fn lone_token(stream: ParseStream<'_>) -> Option<TokenTree> {
    let (token, rest) = stream.cursor().token_tree()?;
    match rest.token_tree() {
        None => Some(token),
        Some((TokenTree::Punct(punct), _)) if punct.as_char() == ',' => Some(token),
        Some(_) => None,
    }
}

/// A `;` makes braces a Rust block and brackets a Rust array: neither is an object or a list of values.
fn has_semicolon(tokens: &TokenStream) -> bool {
    tokens
        .clone()
        .into_iter()
        .any(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';'))
}

/// Goes on to the next `,` or to the end.
fn skip_entry(stream: ParseStream<'_>) {
    while !stream.is_empty() && !stream.peek(Token![,]) {
        let _ = stream.parse::<TokenTree>();
    }
}

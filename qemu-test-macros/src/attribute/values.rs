//! What the value of an argument may be.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::{Attribute, Error, Expr, Lit, LitStr, Path, Result, Token, token};

use super::spelling;

/// The value of an argument.
#[derive(Clone)]
pub(super) enum Value {
    Flag,
    Expr(Expr),
    /// `[a, ..b]`
    Words(Vec<Word>),
    /// A `Duration`, parsed if it was text.
    Timeout(TokenStream),
    /// The variant of the library's own enum for an accelerator or an isolation.
    Variant(Ident),
    /// `fixture = none`
    NoFixture,
    Path(Path),
}

/// One element of a list.
#[derive(Clone)]
pub(super) struct Word {
    /// `#[cfg(...)]`, as on an element of an array.
    pub(super) attributes: Vec<Attribute>,
    /// `..EXPR`: the elements of another list.
    pub(super) splice: Option<Token![..]>,
    pub(super) expr: Expr,
}

/// The `=` of an argument that takes a value, which must follow.
pub(super) fn equals(input: ParseStream<'_>, name: &Ident, example: &str) -> Result<()> {
    let missing = |span| Error::new(span, format!("`{name}` takes a value: `{name} = {example}`"));
    if at_end(input) {
        return Err(missing(name.span()));
    }
    let equals: Token![=] = input.parse().map_err(|error: Error| missing(error.span()))?;
    if at_end(input) {
        Err(missing(equals.span))
    } else {
        Ok(())
    }
}

/// A flag, which has none.
pub(super) fn flag(input: ParseStream<'_>, name: &Ident) -> Result<Value> {
    if at_end(input) {
        return Ok(Value::Flag);
    }
    let value = until_comma(input)?;
    Err(Error::new_spanned(
        value,
        format!("`{name}` is a flag: write it alone, without a value"),
    ))
}

/// `[a, ..b]`, or an expression that is no such list: `["a"; 2]`, `["a", "b"].iter()`, `ARGS`.
pub(super) fn words(input: ParseStream<'_>, splices: bool) -> Result<Value> {
    if input.peek(token::Bracket) {
        // Not as a `Group`, which would not see through the invisible group around a `$list:expr`.
        let ahead = input.fork();
        let content;
        syn::bracketed!(content in ahead);
        if at_end(&ahead) && !is_repeated(content.parse()?) {
            let content;
            syn::bracketed!(content in input);
            let words = content.parse_terminated(word, Token![,])?;
            if let Some(dots) = words.iter().find_map(|word| word.splice.filter(|_| !splices)) {
                return Err(Error::new_spanned(
                    dots,
                    "`..` is for `args` and `wrapper`: write the elements out",
                ));
            }
            return Ok(Value::Words(words.into_iter().collect()));
        }
    }
    input.parse().map(Value::Expr)
}

/// [`words`] of a command line, which are text, and of which text alone is not one list.
pub(super) fn list(input: ParseStream<'_>, name: &Ident) -> Result<Value> {
    let value = words(input, true)?;
    match &value {
        Value::Expr(expr) => {
            if let Some(text) = text(expr) {
                let words = text.value();
                let words: Vec<_> = words.split_whitespace().map(|word| format!("{word:?}")).collect();
                let message = format!(
                    "`{name}` takes a list of words: `{name} = [{}]`",
                    words.join(", ")
                );
                return Err(Error::new(text.span(), message));
            }
        }
        Value::Words(words) => {
            for word in words.iter().filter(|word| word.splice.is_none()) {
                if let Expr::Lit(literal) = plain(&word.expr)
                    && let Lit::Int(number) = &literal.lit
                {
                    let message = format!("a word of a command line is text: `\"{number}\"`");
                    return Err(Error::new(number.span(), message));
                }
            }
        }
        _ => {}
    }
    Ok(value)
}

/// A `MachineBuilder`, and no type of a machine as QEMU has them.
pub(super) fn builder(input: ParseStream<'_>) -> Result<Value> {
    let expr: Expr = input.parse()?;
    match text(&expr) {
        Some(text) => {
            let message = format!(
                "`machine` is a `MachineBuilder` to start from; QEMU's own goes into `args = [\"-machine\", {:?}]`",
                text.value()
            );
            Err(Error::new(text.span(), message))
        }
        None => Ok(Value::Expr(expr)),
    }
}

/// `["a"; 2]`: a `;` in an expression would be inside a group of its own.
fn is_repeated(list: TokenStream) -> bool {
    list.into_iter()
        .any(|token| matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ';'))
}

fn word(input: ParseStream<'_>) -> Result<Word> {
    let attributes = input.call(Attribute::parse_outer)?;
    let splice: Option<Token![..]> = match input.peek(Token![..=]) || input.peek(Token![...]) {
        true => None,
        false => input.parse()?,
    };
    if let Some(dots) = splice.filter(|_| at_end(input)) {
        return Err(Error::new_spanned(
            dots,
            "`..` splices a list: name it, as in `..EXTRA_ARGS`",
        ));
    }
    Ok(Word {
        attributes,
        splice,
        expr: input.parse()?,
    })
}

/// `"90s"`, or a `Duration`.
pub(super) fn timeout(input: ParseStream<'_>) -> Result<Value> {
    let expr: Expr = input.parse()?;
    let Expr::Lit(literal) = plain(&expr) else {
        return Ok(Value::Timeout(quote!(#expr)));
    };
    match &literal.lit {
        Lit::Str(text) => duration(text),
        Lit::Int(number) => {
            let digits = number.base10_digits();
            let message = format!("a limit needs a unit: `timeout = \"{digits}s\"`, or a `Duration`");
            Err(Error::new(number.span(), message))
        }
        other => Err(Error::new_spanned(
            other,
            "expected text such as `\"90s\"`, or a `Duration`",
        )),
    }
}

/// Text is parsed now: a typo is a compile error, and the test pays nothing for it.
fn duration(text: &LitStr) -> Result<Value> {
    let value = text.value();
    let duration = humantime::parse_duration(&value).map_err(|error| {
        let message = match value.trim().parse::<u64>() {
            Ok(number) => format!("a limit needs a unit: `timeout = \"{number}s\"`"),
            Err(_) => format!("`{value}` is no time ({error}): write `\"90s\"`, `\"2m 30s\"` or `\"500ms\"`"),
        };
        Error::new(text.span(), message)
    })?;
    if duration.is_zero() {
        let message = "the limit must be longer than nothing: the test would be over at once";
        return Err(Error::new(text.span(), message));
    }
    let (seconds, nanoseconds) = (duration.as_secs(), duration.subsec_nanos());
    let span = text.span().resolved_at(Span::mixed_site());
    Ok(Value::Timeout(
        quote_spanned!(span=> ::core::time::Duration::new(#seconds, #nanoseconds)),
    ))
}

/// An expression, or `none`.
pub(super) fn fixture(input: ParseStream<'_>) -> Result<Value> {
    let expr: Expr = input.parse()?;
    match plain(&expr) {
        Expr::Path(path) if path.path.is_ident("none") => Ok(Value::NoFixture),
        _ => Ok(Value::Expr(expr)),
    }
}

/// The expression that a `macro_rules!` macro passed on as `$value:expr` or `$value:literal`, in an invisible group.
fn plain(expr: &Expr) -> &Expr {
    match expr {
        Expr::Group(group) => plain(&group.expr),
        other => other,
    }
}

/// The text that an expression is.
fn text(expr: &Expr) -> Option<&LitStr> {
    match plain(expr) {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// A bare word out of a few, as the variant that it stands for.
pub(super) fn variant(input: ParseStream<'_>, name: &Ident, accepted: &[(&str, &str)]) -> Result<Value> {
    let value = until_comma(input)?;
    let word = (|input: ParseStream<'_>| input.call(Ident::parse_any)).parse2(value.clone());
    if let Ok(word) = &word
        && let Some((_, variant)) = accepted.iter().find(|(known, _)| word == known)
    {
        return Ok(Value::Variant(Ident::new(variant, word.span())));
    }
    let known: Vec<_> = accepted.iter().map(|(known, _)| *known).collect();
    let message = match syn::parse2::<LitStr>(value.clone()).map(|text| text.value()) {
        Ok(text) if known.contains(&&*text) => format!("`{name}` takes a bare word: `{name} = {text}`"),
        _ => format!(
            "`{name}` cannot be `{value}`: {}",
            spelling::suggest(&value.to_string(), &known)
        ),
    };
    Err(Error::new_spanned(value, message))
}

/// The path of the library.
pub(super) fn library(input: ParseStream<'_>) -> Result<Value> {
    if input.peek(LitStr) {
        let text: LitStr = input.parse()?;
        let message = format!("the path goes without quotes: `crate = {}`", text.value());
        return Err(Error::new(text.span(), message));
    }
    input.call(Path::parse_mod_style).map(Value::Path)
}

/// Whether the argument ends here.
pub(super) fn at_end(input: ParseStream<'_>) -> bool {
    input.is_empty() || input.peek(Token![,])
}

fn until_comma(input: ParseStream<'_>) -> Result<TokenStream> {
    let mut tokens = TokenStream::new();
    while !at_end(input) {
        tokens.extend([input.parse::<TokenTree>()?]);
    }
    Ok(tokens)
}

//! The values that are plain to see: literals, and what stands in braces and brackets.

use proc_macro2::Span;
use syn::{Expr, ExprGroup, ExprLit, ExprReference, ExprUnary, Lit, UnOp};

use super::super::ast::{Object, Value, Written};
use super::super::schema::table::folded;

/// A value that needs no evaluation.
pub(super) struct Literal {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

/// What JSON it is.
pub(super) enum Kind {
    Null,
    Bool,
    Int,
    Float,
    Str(String),
    Array,
    Object,
}

impl Literal {
    /// The literal that an expression is. Parentheses hide one: what is in them is taken to be meant.
    pub(super) fn of(expr: &Expr) -> Option<Literal> {
        match expr {
            // What came through a `macro_rules!`.
            Expr::Group(ExprGroup { expr, .. }) | Expr::Reference(ExprReference { expr, .. }) => {
                Self::of(expr)
            }
            Expr::Unary(ExprUnary {
                op: UnOp::Neg(_),
                expr,
                ..
            }) => Self::of(expr).filter(|literal| matches!(literal.kind, Kind::Int | Kind::Float)),
            Expr::Lit(ExprLit { lit, .. }) => {
                let kind = match lit {
                    Lit::Str(text) => Kind::Str(text.value()),
                    Lit::Char(c) => Kind::Str(c.value().to_string()),
                    Lit::Bool(_) => Kind::Bool,
                    // `1f64` is a number with a fraction.
                    Lit::Int(int) if int.suffix().starts_with('f') => Kind::Float,
                    Lit::Int(_) | Lit::Byte(_) => Kind::Int,
                    Lit::Float(_) => Kind::Float,
                    // What serde makes of bytes.
                    Lit::ByteStr(_) | Lit::CStr(_) => Kind::Array,
                    _ => return None,
                };
                Some(Literal {
                    kind,
                    span: lit.span(),
                })
            }
            _ => None,
        }
    }
}

/// The literal string that `object` gives to the member `name`.
pub(super) fn member(object: Option<&Object>, name: &str) -> Option<String> {
    let field = object?.fields.iter().find(|field| match &field.key.written {
        Written::Identifier(_) => folded(name).eq(folded(&field.key.wire)),
        Written::Verbatim(_) => field.key.wire == name,
    })?;
    match (&field.value, field.optional) {
        (Value::Expr(expr), false) => match Literal::of(expr)?.kind {
            Kind::Str(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

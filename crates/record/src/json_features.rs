//! Features as JSON: what redaction would have hidden. What is empty or absent is left out, so that most are `{}`.

use crate::features::{Basic, Features, Jwt, KeyShape, PatternHit, Place};
use crate::json::side_name;
use crate::json_text::{comma, push_bool, push_number, push_str};

/// Appends the features of a transaction.
pub(crate) fn push_features(out: &mut Vec<u8>, features: &Features) {
    out.push(b'{');
    let mut first = true;
    push_list(out, &mut first, "jwt", &features.jwt, push_jwt);
    push_list(out, &mut first, "basic", &features.basic, push_basic);
    push_list(out, &mut first, "key_shape", &features.key_shape, push_key_shape);
    push_list(out, &mut first, "patterns", &features.patterns, push_pattern);
    out.push(b'}');
}

/// Appends a member that is a list of objects, unless it is empty.
fn push_list<T>(
    out: &mut Vec<u8>,
    first: &mut bool,
    name: &str,
    items: &[T],
    push: impl Fn(&mut Vec<u8>, &T),
) {
    if items.is_empty() {
        return;
    }
    comma(out, first);
    push_str(out, name);
    out.extend_from_slice(b":[");
    let mut first = true;
    for item in items {
        comma(out, &mut first);
        push(out, item);
    }
    out.push(b']');
}

/// Opens an entry's object with the place where it was found.
fn open(out: &mut Vec<u8>, place: &Place) {
    out.extend_from_slice(b"{\"side\":");
    push_str(out, side_name(place.side));
    out.extend_from_slice(b",\"name\":");
    push_str(out, &place.name);
}

/// Appends `,"name":` and a value, unless there is none.
fn member<T>(out: &mut Vec<u8>, name: &str, value: Option<T>, push: impl Fn(&mut Vec<u8>, T)) {
    if let Some(value) = value {
        out.push(b',');
        push_str(out, name);
        out.push(b':');
        push(out, value);
    }
}

fn push_jwt(out: &mut Vec<u8>, jwt: &Jwt) {
    open(out, &jwt.place);
    member(out, "alg", jwt.alg.as_deref(), push_str);
    member(out, "typ", jwt.typ.as_deref(), push_str);
    member(out, "kid", jwt.kid, |out, kid| push_str(out, &kid.name()));
    member(out, "jku_host", jwt.jku_host.as_deref(), push_str);
    member(out, "expires_unix_s", jwt.expires_unix_s, |out, value| {
        if value < 0 {
            out.push(b'-');
        }
        push_number(out, value.unsigned_abs());
    });
    member(out, "parts", Some(jwt.parts), push_number);
    member(out, "unsigned", Some(jwt.unsigned), push_bool);
    out.push(b'}');
}

fn push_basic(out: &mut Vec<u8>, basic: &Basic) {
    open(out, &basic.place);
    member(out, "user", basic.user.as_deref(), push_str);
    member(out, "password_empty", basic.password_empty, push_bool);
    out.push(b'}');
}

fn push_key_shape(out: &mut Vec<u8>, shape: &KeyShape) {
    open(out, &shape.place);
    member(out, "provider", Some(shape.provider.as_str()), push_str);
    out.push(b'}');
}

fn push_pattern(out: &mut Vec<u8>, hit: &PatternHit) {
    open(out, &hit.place);
    member(out, "kind", Some(&*hit.kind.name()), push_str);
    member(out, "class", Some(hit.class.as_str()), push_str);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn json(features: &Features) -> String {
        let mut out = Vec::new();
        push_features(&mut out, features);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_features_are_an_empty_object() {
        assert_eq!(json(&Features::default()), "{}");
    }

    #[test]
    fn every_feature_is_told_and_what_is_absent_is_left_out() {
        assert_eq!(
            json(&fixture::features()),
            concat!(
                r#"{"jwt":[{"side":"request","name":"Authorization","alg":"RS256","typ":"JWT","kid":"uuid","#,
                r#""jku_host":"keys.example","expires_unix_s":1764009411,"parts":3,"unsigned":false},"#,
                r#"{"side":"response","name":"target","parts":1,"unsigned":true}],"#,
                r#""basic":[{"side":"request","name":"Authorization","user":"hmac:1:00","password_empty":true}],"#,
                r#""key_shape":[{"side":"request","name":"X-Api-Key","provider":"openai"}],"#,
                r#""patterns":[{"side":"request","name":"target","kind":"attack","class":"sqli"}]}"#
            )
        );
    }
}

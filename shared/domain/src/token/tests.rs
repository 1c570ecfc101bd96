//! Tokens: which are refused and why, replaced keys, revoked tokens.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn key(n: u8) -> TokenKey {
    TokenKey::new(&[n; 64]).unwrap()
}

fn trust(keys: &[u8]) -> Trust {
    let known = keys.iter().rev();
    known.fold(Trust::default(), |trust, n| {
        trust.with_current(key(*n).public().clone(), true).unwrap()
    })
}

fn id(n: u8, at: Timestamp) -> TokenId {
    TokenId::new(at, [n; 15])
}

fn organization() -> Scope {
    Scope::organization(OrganizationId::new(NOW, [1; 15]))
}

fn application() -> Scope {
    Scope {
        application: Some(ApplicationId::new(NOW, [2; 15])),
        ..organization()
    }
}

fn customer(granted_at: Timestamp) -> Scope {
    Scope {
        feature_flags: vec!["beta".to_owned().try_into().unwrap()],
        session: Some(Session {
            id: id(3, NOW),
            granted_at,
            expires_at: NOW.plus(HOUR),
            capabilities: BTreeSet::from([Capability::ViewBase]),
            tag: Some("user@1".to_owned().try_into().unwrap()),
        }),
        ..application()
    }
}

fn mint(n: u8, scope: &Scope, token: TokenId) -> String {
    let token = key(n).mint(scope, token, NOW, HOUR).unwrap();
    format!("Bearer {token}")
}

fn authenticate(trust: &Trust, header: Option<&str>, now: Timestamp) -> Result<Scope, TokenError> {
    Presented::read(header).and_then(|presented| trust.authenticate(&presented, now))
}

#[test]
fn a_token_carries_its_scope() {
    for scope in [organization(), application(), customer(NOW)] {
        let token = mint(7, &scope, id(9, NOW));
        assert_eq!(authenticate(&trust(&[7]), Some(&token), NOW), Ok(scope));
    }
}

#[test]
fn an_application_token_sees_its_features_only() {
    let flag = |name: &str| FeatureFlag::try_from(name.to_owned()).unwrap();
    let customer = customer(NOW);
    assert!(customer.sees(None) && customer.sees(Some(&flag("beta"))));
    assert!(!customer.sees(Some(&flag("alpha"))));
    assert!(organization().sees(Some(&flag("alpha"))));
}

#[test]
fn a_refusal_says_why() {
    let bearer = mint(7, &organization(), id(9, NOW));
    let token = bearer.strip_prefix("Bearer ").unwrap();
    let at_expiry = NOW.plus(HOUR);
    let too_early = NOW.minus(Duration::from_secs(120));
    for (keys, header, now, expected) in [
        (7, None, NOW, TokenError::Missing),
        (7, Some(token), NOW, TokenError::Header),
        (7, Some("Basic x"), NOW, TokenError::Header),
        (7, Some("Bearer x.y"), NOW, TokenError::Malformed),
        (7, Some("Bearer"), NOW, TokenError::Malformed),
        (7, Some(bearer.as_str()), at_expiry, TokenError::Expired),
        (7, Some(bearer.as_str()), too_early, TokenError::NotYet),
        (8, Some(bearer.as_str()), NOW, TokenError::Forged),
    ] {
        let refused = authenticate(&trust(&[keys]), header, now);
        assert_eq!(refused, Err(expected), "{header:?}");
    }
}

#[test]
fn a_replaced_key_verifies_until_the_next_replacement_and_never_comes_back() {
    let tokens = [7, 8, 9].map(|n| mint(n, &organization(), id(n, NOW)));
    let good = |trust: &Trust| {
        let good = |token: &String| authenticate(trust, Some(token), NOW).is_ok();
        tokens.iter().map(good).collect::<Vec<_>>()
    };
    assert_eq!(good(&trust(&[7])), [true, false, false]);
    assert_eq!(good(&trust(&[8, 7])), [true, true, false]);
    let third = trust(&[9, 8, 7]);
    assert_eq!(good(&third), [false, true, true]);
    for replaced in [7, 8] {
        let back = third
            .clone()
            .with_current(key(replaced).public().clone(), true);
        assert_eq!(back, Err(TrustError::Retired));
    }
    let alone = third.with_current(key(9).public().clone(), false).unwrap();
    assert_eq!(good(&alone), [false, false, true]);
    let leaked = alone.with_current(key(6).public().clone(), false).unwrap();
    assert_eq!(good(&leaked), [false, false, false]);
    let back = leaked.with_current(key(9).public().clone(), true);
    assert_eq!(back, Err(TrustError::Retired));
}

#[test]
fn a_token_is_revoked_by_its_id_its_application_or_its_organization() {
    let later = NOW.plus(HOUR);
    let (one, other) = (id(5, NOW), id(6, NOW));
    let org = organization().organization;
    let app = application().application.unwrap();
    let revoked = |what| trust(&[7]).revoke(org.clone(), what, NOW).unwrap();
    let refused = |trust: &Trust, scope: &Scope, token: &TokenId| {
        let header = mint(7, scope, token.clone());
        authenticate(trust, Some(&header), NOW) == Err(TokenError::Revoked)
    };
    let single = revoked(Revocation::Token(one.clone()));
    assert!(refused(&single, &organization(), &one));
    assert!(!refused(&single, &organization(), &other));
    let of_app = revoked(Revocation::Application(app));
    assert!(refused(&of_app, &application(), &one));
    assert!(refused(&of_app, &customer(NOW), &one));
    assert!(!refused(&of_app, &organization(), &one));
    assert!(!refused(&of_app, &application(), &id(5, later)), "newer");
    let all = revoked(Revocation::Organization);
    for scope in [organization(), application(), customer(NOW)] {
        assert!(refused(&all, &scope, &one));
    }
    assert!(
        !refused(&all, &organization(), &id(5, later)),
        "made afterwards"
    );
    let stranger = Scope::organization(OrganizationId::new(NOW, [9; 15]));
    assert!(!refused(&all, &stranger, &one));
}

#[test]
fn the_list_of_revocations_is_bounded_and_the_organization_ends_it() {
    let org = organization().organization;
    let mut full = trust(&[7]);
    for n in 0..MAX_REVOKED {
        let token = TokenId::new(NOW.plus(Duration::from_secs(n as u64)), [0; 15]);
        match full
            .clone()
            .revoke(org.clone(), Revocation::Token(token), NOW)
        {
            Ok(more) => full = more,
            Err(error) => assert_eq!((error, n), (TrustError::Full, MAX_REVOKED - 1)),
        }
    }
    let size = serde_json::to_string(&full).unwrap().len();
    assert!(size < 60_000, "{size} bytes");
    let all = full.revoke(org, Revocation::Organization, NOW).unwrap();
    assert!(serde_json::to_string(&all).unwrap().len() < 500);
}

/// A token with any header and claims, signed with Ed25519 and the right key.
fn signed(header: &str, claims: &Value) -> String {
    let seed = Sha256::new_with_prefix(b"posthorn token key v1")
        .chain_update([7; 64])
        .finalize();
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let known = trust(&[7]);
    let public = URL_SAFE_NO_PAD.encode(pair.public_key());
    assert_eq!(known.current().unwrap().key, public);
    let header = header.replace("KID", &known.current().unwrap().id);
    let [header, claims] = [header, claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
    let text = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(text.as_bytes()));
    format!("Bearer {text}.{signature}")
}

fn claims() -> Value {
    json!({
        "iss": "posthorn", "iat": 1_700_000_000, "nbf": 1_700_000_000, "exp": 1_700_003_600,
        "sub": organization().organization, "jti": id(9, NOW),
    })
}

const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT","kid":"KID"}"#;

#[test]
fn another_algorithm_is_refused_whatever_the_signature() {
    let good = signed(HEADER, &claims());
    assert!(authenticate(&trust(&[7]), Some(&good), NOW).is_ok());
    for name in [
        "none", "None", "HS256", "HS384", "HS512", "RS256", "ES256", "PS256", "eddsa", "",
    ] {
        let token = signed(&HEADER.replace("EdDSA", name), &claims());
        let refused = authenticate(&trust(&[7]), Some(&token), NOW);
        let expected = [Err(TokenError::Algorithm), Err(TokenError::Malformed)];
        assert!(expected.contains(&refused), "{name}: {refused:?}");
    }
    let without = good.rsplit_once('.').unwrap().0;
    for token in [without.to_owned(), format!("{without}.")] {
        assert!(authenticate(&trust(&[7]), Some(&token), NOW).is_err());
    }
}

/// The mistake of verifiers that let the token choose the algorithm: the public key used as an HMAC
/// secret.
#[test]
fn the_public_key_signs_nothing() {
    use hmac::{Hmac, KeyInit, Mac};
    let known = trust(&[7]);
    let public = known.current().unwrap();
    for secret in [
        public.key.as_bytes().to_vec(),
        URL_SAFE_NO_PAD.decode(&public.key).unwrap(),
    ] {
        let header = HEADER.replace("EdDSA", "HS256").replace("KID", &public.id);
        let [header, claims] =
            [header, claims().to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
        let text = format!("{header}.{claims}");
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
        mac.update(text.as_bytes());
        let mac = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        let token = format!("Bearer {text}.{mac}");
        let refused = authenticate(&known, Some(&token), NOW);
        assert_eq!(refused, Err(TokenError::Algorithm));
    }
}

#[test]
fn every_claim_that_ours_have_must_be_there_and_right() {
    for missing in ["iss", "iat", "nbf", "exp", "sub", "jti"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(missing);
        let refused = authenticate(&trust(&[7]), Some(&signed(HEADER, &claims)), NOW);
        assert_eq!(refused, Err(TokenError::Malformed), "{missing}");
    }
    for (name, value, expected) in [
        ("iss", json!("another"), TokenError::Malformed),
        ("exp", json!("soon"), TokenError::Malformed),
        ("jti", json!("x"), TokenError::Malformed),
        ("sub", json!("x"), TokenError::Subject),
        (
            "sub",
            json!(application().application.unwrap()),
            TokenError::Subject,
        ),
        ("portal", json!({}), TokenError::Malformed),
        ("aud", json!("another"), TokenError::Malformed),
    ] {
        let mut claims = claims();
        claims[name] = value;
        let refused = authenticate(&trust(&[7]), Some(&signed(HEADER, &claims)), NOW);
        assert_eq!(refused, Err(expected), "{name}");
    }
    for header in [r#"{"alg":"EdDSA"}"#, r#"{"alg":"EdDSA","kid":"other"}"#] {
        let refused = authenticate(&trust(&[7]), Some(&signed(header, &claims())), NOW);
        assert_eq!(refused, Err(TokenError::Forged));
    }
}

#[test]
fn one_changed_character_anywhere_is_refused() {
    let token = mint(7, &customer(NOW), id(9, NOW));
    let trust = trust(&[7]);
    for place in "Bearer ".len()..token.len() - 1 {
        let mut changed = token.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(authenticate(&trust, Some(&changed), NOW).is_err());
    }
}

#[test]
fn a_short_key_is_refused() {
    assert_eq!(TokenKey::new(&[1; 31]).unwrap_err(), KeyError);
}

#[test]
fn an_application_token_reaches_its_application_only() {
    let (scope, own) = (application(), application().application.unwrap());
    assert_eq!(scope.require_application(&own), Ok(()));
    let other = ApplicationId::new(NOW, [3; 15]);
    let refused = scope.require_application(&other);
    assert_eq!(refused, Err(ScopeError::OtherApplication));
    assert_eq!(scope.require_organization(), Err(ScopeError::Forbidden));
}

#[test]
fn only_tokens_of_equal_reach_share_answers() {
    let (one, mut other) = (customer(NOW), customer(NOW));
    if let Some(session) = &mut other.session {
        session.id = id(4, NOW);
    }
    let all = [organization(), application(), one, other];
    let names: BTreeSet<_> = all.iter().map(Scope::remembers_as).collect();
    assert_eq!(names.len(), all.len());
}

#[test]
fn wider_capabilities_hold_narrower_ones() {
    use Capability::*;
    let may = |held: Capability| {
        let session = Session {
            capabilities: BTreeSet::from([held]),
            ..customer(NOW).session.unwrap()
        };
        let all = Capability::ALL.into_iter();
        all.filter(|it| session.may(*it)).collect::<Vec<_>>()
    };
    assert_eq!(may(ViewBase), [ViewBase]);
    assert_eq!(may(ViewEndpointSecret), [ViewEndpointSecret]);
    assert_eq!(
        may(ManageEndpointSecret),
        [ViewEndpointSecret, ManageEndpointSecret]
    );
    assert_eq!(may(ManageTransformations), [ManageTransformations]);
    assert_eq!(may(CreateAttempts), [CreateAttempts]);
    let endpoint = [
        ViewEndpointSecret,
        ManageEndpointSecret,
        ManageTransformations,
        ManageEndpoint,
    ];
    assert_eq!(may(ManageEndpoint), endpoint);
}

#[test]
fn any_number_of_orders_takes_little_room_and_ends_nothing_late() {
    let at = |seconds: u64| NOW.plus(Duration::from_secs(seconds));
    let order = |ending: Ending, n| ending.end_all(at(n), Duration::from_secs(1000 + n));
    let many = (0..100).fold(Ending::default(), order);
    assert!(serde_json::to_string(&many).unwrap().len() < 2048);
    for n in 0..100 {
        assert!(many.ends(at(n), at(1000 + 2 * n)), "{n}");
        assert!(!many.ends(at(n), at(1000)) || n == 0, "{n}");
    }
    assert!(!many.ends(at(100), at(9999)), "granted afterwards");
}

#[test]
fn no_session_lives_longer_for_a_second_order() {
    let at = |seconds: u64| NOW.plus(Duration::from_secs(seconds));
    let grace = Duration::from_secs(60);
    let none = Ending::default();
    assert!(!none.ends(NOW, at(1)));
    let once = none.clone().end_all(at(10), Duration::ZERO);
    assert!(once.ends(at(10), at(10)) && !once.ends(at(11), at(99)));
    let later = once.end_all(at(20), grace);
    assert!(later.ends(at(10), at(20)), "ended before");
    assert!(!later.ends(at(15), at(79)) && later.ends(at(15), at(80)));
    let longer = later.clone().end_all(at(30), grace * 100);
    assert!(longer.ends(at(15), at(80)), "not later than it was told");
    let new = at(25);
    assert!(
        !longer.ends(new, at(6029)),
        "the first order was not about it"
    );
    assert!(longer.ends(new, at(6030)));
    let sooner = longer.end_all(at(40), Duration::from_secs(1));
    assert!(!sooner.ends(new, at(40)) && sooner.ends(new, at(41)));
    let after = later.end_all(at(100), grace);
    assert!(after.ends(at(15), at(100)), "its time has come");
    assert!(!after.ends(at(90), at(159)) && after.ends(at(90), at(160)));
    let over = after.end_all(at(110), Duration::ZERO);
    assert!(over.ends(at(110), at(110)) && !over.ends(at(111), at(999)));
}

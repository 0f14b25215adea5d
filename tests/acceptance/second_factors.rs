//! Getting, renewing and removing a second factor: shown once, changed only by one who proves to have it.

use std::time::Duration;

use data_encoding::{BASE32_NOPAD, BASE64};
use serde_json::json;

use crate::harness::{Authenticator, Pair, Person, Server, at_once, promise};

const MFA: &str = "/api/v1/me/mfa";
const TOTP: &str = "/api/v1/me/mfa/totp";
const CONFIRM: &str = "/api/v1/me/mfa/totp/confirm";
const RECOVERY: &str = "/api/v1/me/mfa/recovery-codes";
const ME: &str = "/api/v1/me";
/// Longer than a proof is recent.
const WHILE: Duration = Duration::from_secs(16 * 60);

fn server_and_person(pair: Pair) -> (Server, Person) {
    let server = Server::start(pair, &[]);
    let ada = server.person("ada");
    (server, ada)
}

/// What the QR code in a PNG says.
fn read_picture(png: &[u8]) -> String {
    let picture = image::load_from_memory(png).expect("a picture").into_luma8();
    let (width, height) = picture.dimensions();
    assert!(width == height && width % 10 == 0, "{width}×{height}");
    let margin = (0..40).flat_map(|near| (0..width).map(move |x| (x, near)));
    assert!(margin.into_iter().all(|(x, y)| picture.get_pixel(x, y).0 == [255]), "a quiet zone of 4 modules");
    let grey = |x, y| picture.get_pixel(x as u32, y as u32).0[0];
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width as usize, height as usize, grey);
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1);
    grids[0].decode().expect("a QR code").1
}

promise! {
    fn an_authenticator_is_shown_once_as_secret_address_and_picture(pair) {
        let server = Server::start(pair, &[("MFA_ISSUER", "Our Gate")]);
        let ada = server.person("ada+totp&a=b");
        let shown = ada.api.act(TOTP).is(200);
        assert_eq!(shown.header("cache-control"), Some("no-store"));
        let secret = shown.member("secret");
        assert_eq!(BASE32_NOPAD.decode(secret.as_bytes()).expect("base32").len(), 20, "160 bits");
        let uri = shown.member("otpauth_uri");
        let expected = format!(
            "otpauth://totp/Our%20Gate:ada%2Btotp%26a%3Db%40example.com?secret={secret}\
             &issuer=Our%20Gate&algorithm=SHA1&digits=6&period=30"
        );
        assert_eq!(uri, expected);
        let png = BASE64.decode(shown.member("qr_code_png_base64").as_bytes()).expect("base64");
        assert_eq!(read_picture(&png), uri);
        assert_ne!(ada.api.act(TOTP).is(200).member("secret"), secret, "each time another");

        let (_, codes) = ada.enrol(&server);
        let state = ada.api.get(MFA).is(200);
        let members: Vec<String> = state.json().as_object().expect("an object").keys().cloned().collect();
        assert_eq!(members, ["confirmed_at", "enrolled", "must_enrol", "recovery_codes_left"]);
        assert_eq!((&state.json()["enrolled"], &state.json()["recovery_codes_left"]), (&json!(true), &json!(10)));
        ada.api.act(TOTP).refused(409, "mfa_already_enrolled");
        let distinct: std::collections::BTreeSet<&String> = codes.iter().collect();
        assert_eq!(distinct.len(), 10);
        assert!(codes.iter().all(|code| code.replace('-', "").len() == 24), "120 bits each");
    }

    fn an_authenticator_counts_once_confirmed_and_waits_ten_minutes_for_it(pair) {
        let (server, ada) = server_and_person(pair);
        ada.api.post(CONFIRM, &json!({"code": "123456"})).refused(404, "not_found");
        let replaced = Authenticator::of(&ada.api.act(TOTP).is(200));
        let pending = Authenticator::of(&ada.api.act(TOTP).is(200));
        server.log_in(&ada.email, &ada.password).api.get(ME).is(200);
        let code = replaced.next_code(&server);
        ada.api.post(CONFIRM, &json!({"code": code})).refused(401, "invalid_code");
        assert_eq!(server.audited("LOGIN_FAILURE", "failure"), 1);
        for wrong in ["", "12345", "1234567", "-12345", "12345a", "１２３４５６", "٠٠٠٠٠٠"] {
            ada.api.post(CONFIRM, &json!({"code": wrong})).refused(401, "invalid_code");
        }
        ada.api.post(CONFIRM, &json!({"code": 123_456})).refused(400, "malformed_request");
        server.advance(Duration::from_secs(600));
        let code = pending.next_code(&server);
        ada.api.post(CONFIRM, &json!({"code": code})).refused(404, "not_found");
        assert_eq!(ada.api.get(MFA).is(200).json()["enrolled"], false);
        assert_eq!(server.audited("mfa.added", "success"), 0);
    }

    fn confirming_ends_the_other_sessions_and_uses_the_code_up(pair) {
        let (server, ada) = server_and_person(pair);
        let elsewhere = server.log_in(&ada.email, &ada.password);
        let authenticator = Authenticator::of(&ada.api.act(TOTP).is(200));
        let code = authenticator.next_code(&server);
        let answers = at_once(5, |_| ada.api.post(CONFIRM, &json!({"code": code})).status);
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        elsewhere.api.get(ME).refused(401, "invalid_token");
        server.refresh(&elsewhere.tokens.refresh).refused(401, "invalid_token");
        ada.api.get(ME).is(200);
        let session = ada.api.get("/api/v1/auth/sessions").items()[0].clone();
        assert_eq!(session["authenticated_with"], json!(["password", "totp"]));
        server.second_step(&server.challenge(&ada), &code).refused(401, "invalid_code");
        assert_eq!(server.audited("mfa.added", "success"), 1);
    }

    fn nothing_about_a_factor_changes_without_a_recent_proof_and_a_code(pair) {
        let (server, ada) = server_and_person(pair);
        let key = server.key(&ada.make_key(&["models:read"]));
        server.advance(WHILE);
        let before = server.world.state();
        ada.api.act(TOTP).refused(401, "step_up_required");
        key.act(TOTP).refused(403, "forbidden");
        server.world.is_unchanged_since(&before);
        let ada = server.log_in(&ada.email, &ada.password);
        let (authenticator, codes) = ada.enrol(&server);
        server.advance(WHILE);
        let code = json!({"code": authenticator.next_code(&server)});
        let send = |method: &str, path: &str, body: &serde_json::Value| {
            ada.api.send(method, path, Some("application/json"), body.to_string().as_bytes())
        };
        for (method, path) in [("DELETE", TOTP), ("POST", RECOVERY)] {
            send(method, path, &code).refused(401, "step_up_required");
            key.send(method, path, Some("application/json"), code.to_string().as_bytes()).refused(403, "forbidden");
        }
        // A recent proof alone does not do either, nor does the password in the place of a code.
        let token = server.second_step(&server.challenge(&ada), &codes[0]).is(200).member("access_token");
        let fresh = server.user(&token);
        let factors = || -> Vec<String> {
            let is_one = |row: &String| row.contains("second_factors") || row.contains("recovery_codes");
            server.world.state().into_iter().filter(is_one).collect()
        };
        let held = factors();
        let before = server.audited("LOGIN_FAILURE", "failure");
        for (method, path) in [("DELETE", TOTP), ("POST", RECOVERY)] {
            for wrong in ["000000", &ada.password, &codes[0], ""] {
                let body = json!({"code": wrong}).to_string();
                let reply = fresh.send(method, path, Some("application/json"), body.as_bytes());
                reply.refused(401, "invalid_code");
            }
            fresh.send(method, path, Some("application/json"), b"{}").refused(400, "malformed_request");
        }
        assert_eq!(server.audited("LOGIN_FAILURE", "failure") - before, 8);
        assert_eq!(factors(), held);
        assert_eq!(held.len(), 11);
        server.challenge(&ada);
    }

    fn a_factor_goes_with_its_recovery_codes(pair) {
        let (server, ada) = server_and_person(pair);
        let (authenticator, codes) = ada.enrol(&server);
        let waiting = server.challenge(&ada);
        let body = json!({"code": authenticator.next_code(&server)}).to_string();
        let elsewhere = server.second_step(&server.challenge(&ada), &codes[0]).is(200).member("access_token");
        let remove = || ada.api.send("DELETE", TOTP, Some("application/json"), body.as_bytes());
        remove().is(204);
        remove().refused(404, "not_found");
        server.user(&elsewhere).get(ME).refused(401, "invalid_token");
        server.second_step(&waiting, &codes[1]).refused(401, "invalid_code");
        server.log_in(&ada.email, &ada.password).api.get(ME).is(200);
        let state = ada.api.get(MFA).is(200).json();
        assert_eq!((&state["enrolled"], &state["recovery_codes_left"]), (&json!(false), &json!(0)));
        assert_eq!(server.audited("mfa.removed", "success"), 1);
        ada.enrol(&server);
    }

    fn a_recovery_code_is_good_once_and_only_until_there_are_new_ones(pair) {
        let (server, ada) = server_and_person(pair);
        let (authenticator, codes) = ada.enrol(&server);
        let challenges: Vec<String> = (0..10).map(|_| server.challenge(&ada)).collect();
        let answers = at_once(10, |number| server.second_step(&challenges[number], &codes[0]).status);
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        // However it is typed.
        let typed = codes[1].to_uppercase().replace('-', " ");
        server.second_step(&server.challenge(&ada), &typed).is(200);
        server.second_step(&server.challenge(&ada), &codes[1]).refused(401, "invalid_code");
        assert_eq!(ada.api.get(MFA).is(200).json()["recovery_codes_left"], 8);

        let renewed = ada.api.post(RECOVERY, &json!({"code": authenticator.next_code(&server)})).is(200).json();
        assert_eq!(ada.api.get(MFA).is(200).json()["recovery_codes_left"], 10);
        server.second_step(&server.challenge(&ada), &codes[2]).refused(401, "invalid_code");
        let new = renewed["recovery_codes"][0].as_str().expect("a code");
        let reply = server.second_step(&server.challenge(&ada), new).is(200);
        let session = server.user(&reply.member("access_token")).get("/api/v1/auth/sessions").items()[0].clone();
        assert_eq!(session["authenticated_with"], json!(["password", "recovery_code"]));
        let grace = server.person("grace");
        grace.enrol(&server);
        let other = renewed["recovery_codes"][1].as_str().expect("a code");
        server.second_step(&server.challenge(&grace), other).refused(401, "invalid_code");
    }

    fn no_secret_and_no_code_stands_in_the_database(pair) {
        let (server, ada) = server_and_person(pair);
        let shown = ada.api.act(TOTP).is(200).member("secret");
        let raw = BASE32_NOPAD.decode(shown.as_bytes()).expect("base32");
        let (_, codes) = ada.enrol(&server);
        let token = server.challenge(&ada);
        let stored = match server.world.database_url() {
            Some(_) => server.world.state().concat().into_bytes(),
            None => {
                let files = std::fs::read_dir(server.world.folder().join("data")).expect("the data");
                files.flatten().flat_map(|file| std::fs::read(file.path()).unwrap_or_default()).collect()
            }
        };
        let plain = codes[0].replace('-', "");
        let hex = data_encoding::HEXLOWER.encode(&raw);
        for secret in [shown.as_bytes(), &raw, hex.as_bytes(), codes[0].as_bytes(), plain.as_bytes(), token.as_bytes()] {
            assert!(!stored.windows(secret.len()).any(|part| part == secret), "{}", String::from_utf8_lossy(secret));
        }
        assert!(stored.len() > 500, "something was looked at");
    }
}

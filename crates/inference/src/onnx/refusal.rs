//! Why the runtime would not load a file, in words for the person who provided it.

use ort::error::ErrorCode;

/// Longest part of the runtime's message that is passed on, in bytes: it may quote the untrusted model.
const MOST: usize = 400;

/// The reason, which names no path.
pub(super) fn reason(code: ErrorCode, message: &str) -> String {
    let what = match code {
        ErrorCode::InvalidProtobuf => return "model.onnx is not a valid ONNX file".to_owned(),
        ErrorCode::NoSuchFile => return "model.onnx or its external data is missing".to_owned(),
        ErrorCode::InvalidGraph => "model.onnx holds an invalid graph",
        ErrorCode::NotImplemented => "model.onnx needs an operator that this runtime does not have",
        _ => "ONNX Runtime refused model.onnx",
    };
    let message = without_paths(message);
    if message.is_empty() {
        return what.to_owned();
    }
    match advice(&message) {
        Some(advice) => format!("{what}: {message} ({advice})"),
        None => format!("{what}: {message}"),
    }
}

/// What to do about it, where that is known.
fn advice(message: &str) -> Option<&'static str> {
    if message.contains("max supported IR version") || message.contains("is till opset") {
        Some("export the model with an older opset and ir_version")
    } else if message.contains("Failed to construct locale") {
        Some(
            "export the model with the locale C.UTF-8, or install the one that it names on this machine and load the \
             model again: docs/MODELS.md, Texts",
        )
    } else {
        None
    }
}

/// A message without paths, and without the place in the runtime's source that stands before most of them.
fn without_paths(message: &str) -> String {
    const OF_A_FILE: &str = " failed:";
    let message = message.split_once(OF_A_FILE).map_or(message, |(_, rest)| rest);
    let words = without_place(message).split_whitespace().filter(|word| !word.contains(['/', '\\']));
    let text: String = words.collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).collect();
    let end = text.floor_char_boundary(MOST);
    text[..end].trim_end_matches('.').to_owned()
}

/// What follows `file.cc:12 function` or `file.cc:12 type function(types)`.
fn without_place(message: &str) -> &str {
    let message = message.trim_start();
    let is_place = |word: &str| {
        let line = word.rsplit_once(':').filter(|(file, _)| file.ends_with(".cc") || file.ends_with(".h"));
        line.is_some_and(|(_, number)| number.parse::<u32>().is_ok())
    };
    let Some((_, rest)) = message.split_once(' ').filter(|(word, _)| is_place(word)) else { return message };
    let name = rest.find([' ', '(']).unwrap_or(rest.len());
    let types = rest.find('(').filter(|open| rest[..*open].contains("::") || *open == name);
    let Some(open) = types else { return &rest[name..] };
    let mut depth = 0_usize;
    let close = rest[open..].find(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    });
    close.map_or(rest, |close| &rest[open + close + 1..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_model_is_told_and_no_path() {
        let refusal = reason;
        let newer = "Load model from /srv/m/1/model.onnx failed:/onnxruntime_src/onnxruntime/core/graph/model.cc:256 \
                     onnxruntime::Model::Model(onnx::ModelProto&&, const std::function<void(int)>&) Unsupported model \
                     IR version: 14, max supported IR version: 13\n";
        assert_eq!(
            refusal(ErrorCode::GenericFailure, newer),
            "ONNX Runtime refused model.onnx: Unsupported model IR version: 14, max supported IR version: 13 (export \
             the model with an older opset and ir_version)"
        );
        let locale = "Exception during initialization: /onnxruntime_src/string_normalizer.cc:235 \
                      onnxruntime::StringNormalizer::Locale::Locale(const std::string&)::<lambda()> Failed to \
                      construct locale with name:en_US.UTF-8:locale::facet::_S_create_c_locale name not valid";
        let locale = refusal(ErrorCode::GenericFailure, locale);
        assert!(
            locale.contains("name:en_US.UTF-8") && locale.contains("with the locale C.UTF-8"),
            "{locale}"
        );
        let short = "Deserialize tensor w failed.tensorprotoutils.cc:1876 GetExtDataFromTensorProto External \
                     initializer: w are out of bounds or can not be read in full.";
        assert!(refusal(ErrorCode::GenericFailure, short).ends_with("can not be read in full"));
        let place = "Load model from m failed:tensorprotoutils.cc:461 Validate Data is at \"/srv/m/w.bin\".";
        assert_eq!(refusal(ErrorCode::GenericFailure, place), "ONNX Runtime refused model.onnx: Data is at");
        let unknown =
            "Load model from a b/c failed:This is an invalid model. Error No Op registered for Frob";
        let expected =
            "model.onnx holds an invalid graph: This is an invalid model. Error No Op registered for Frob";
        assert_eq!(refusal(ErrorCode::InvalidGraph, unknown), expected);
        assert_eq!(refusal(ErrorCode::GenericFailure, "/a/b"), "ONNX Runtime refused model.onnx");
    }

    proptest! {
        #[test]
        fn a_reason_is_one_short_line_without_paths(message in "(model\\.cc:1 )?[a-z:( )/\u{e9}\n.]{0,600}") {
            let refusal = reason(ErrorCode::GenericFailure, &message);
            prop_assert!(refusal.len() < MOST + 100 && !refusal.contains('/') && !refusal.contains('\n'));
        }
    }
}

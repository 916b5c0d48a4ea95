//! What a refusal means: the only place that turns a status and error codes into an [`ErrorKind`].
//! Pure.

use http::StatusCode;

use super::dialect::Dialect;
use super::operation::Operation;
use crate::repository::ErrorKind;

/// The meaning of an answer that is no success (distribution-spec, "Error Codes").
pub(super) fn kind(
    operation: Operation,
    status: StatusCode,
    (codes, message): (&[String], &str),
    dialect: &dyn Dialect,
) -> ErrorKind {
    if let Some(kind) = dialect.kind(codes) {
        return kind;
    }
    let has = |wanted: &[&str]| codes.iter().any(|code| wanted.contains(&code.as_str()));
    // Quay, and others with other statuses.
    if has(&["TAG_IMMUTABLE"]) {
        return ErrorKind::Immutable;
    }
    // Not every product has codes for these.
    let says = |wanted: &[&str]| wanted.iter().any(|words| message.contains(words));
    match status.as_u16() {
        // Harbor.
        412 if says(&["immutable"]) => return ErrorKind::Immutable,
        // Go's server, and nginx.
        400 if says(&["to an HTTPS server", "sent to HTTPS port"]) => return ErrorKind::NeedsTls,
        // distribution, whose error 28 of the system is ENOSPC.
        500 if says(&["no space left", "Err 28", "disk quota exceeded"]) => {
            return ErrorKind::NoSpace;
        }
        _ => {}
    }
    match operation {
        // Registries send the code with 400 or 404.
        Operation::PutManifest if has(&["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"]) => {
            return ErrorKind::MissingParts;
        }
        // distribution before 3.0 takes a tag here for a malformed digest.
        Operation::DeleteTag if status == StatusCode::BAD_REQUEST => return ErrorKind::DigestOnly,
        Operation::DeleteTag if has(&["UNSUPPORTED"]) => return ErrorKind::Unsupported,
        _ => {}
    }
    let sends_bytes = matches!(operation, Operation::UploadBlob | Operation::CommitBlob);
    match status.as_u16() {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Denied,
        404 => ErrorKind::Missing,
        405 | 501 => ErrorKind::Unsupported,
        409 => ErrorKind::Conflict,
        412 => ErrorKind::Policy,
        413 => ErrorKind::TooLarge,
        423 => ErrorKind::InUse,
        429 => ErrorKind::Throttled,
        // The bytes of an upload are of no type, so this is about how they are sent; 416 says that
        // the upload stands elsewhere.
        411 | 415 | 416 if sends_bytes => ErrorKind::Invalid,
        422 if sends_bytes => ErrorKind::Unwanted,
        415 => ErrorKind::Unwanted,
        400 | 422 => ErrorKind::Invalid,
        507 => ErrorKind::NoSpace,
        500 => ErrorKind::InternalError,
        408 | 425 | 500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::*;
    use Operation::*;

    /// A product with an error code of its own.
    #[derive(Debug)]
    struct Own;

    impl Dialect for Own {
        fn kind(&self, codes: &[String]) -> Option<ErrorKind> {
            codes.iter().any(|code| code == "ITS_OWN_CODE").then_some(Tagged)
        }
    }

    #[test]
    fn answers_have_a_meaning() {
        let cases: &[(Operation, u16, &[&str], ErrorKind)] = &[
            (GetManifest, 401, &["UNAUTHORIZED"], Unauthenticated),
            (GetManifest, 403, &["DENIED"], Denied),
            (GetBlob, 404, &["BLOB_UNKNOWN"], Missing),
            (GetBlob, 404, &[], Missing),
            (GetManifest, 412, &["PROJECTPOLICYVIOLATION"], Policy),
            (GetManifest, 429, &["TOOMANYREQUESTS"], Throttled),
            (GetManifest, 418, &[], Refused),
            (PutManifest, 400, &["MANIFEST_BLOB_UNKNOWN"], MissingParts),
            (PutManifest, 404, &["MANIFEST_INVALID", "BLOB_UNKNOWN"], MissingParts),
            (PutManifest, 404, &["NAME_UNKNOWN"], Missing),
            (PutManifest, 400, &["MANIFEST_INVALID"], Invalid),
            (PutManifest, 422, &[], Invalid),
            (PutManifest, 405, &["UNSUPPORTED"], Unsupported),
            (PutManifest, 415, &[], Unwanted),
            (PutManifest, 409, &["TAG_IMMUTABLE"], Immutable),
            (PutManifest, 400, &["TAG_IMMUTABLE"], Immutable),
            (DeleteTag, 400, &["DIGEST_INVALID"], DigestOnly),
            (DeleteTag, 400, &["UNSUPPORTED"], DigestOnly),
            (DeleteTag, 403, &["UNSUPPORTED"], Unsupported),
            (DeleteTag, 405, &["UNSUPPORTED"], Unsupported),
            (DeleteTag, 501, &[], Unsupported),
            (DeleteManifest, 405, &["UNSUPPORTED"], Unsupported),
            (DeleteManifest, 400, &["UNSUPPORTED"], Invalid),
            (DeleteManifest, 400, &["ITS_OWN_CODE"], Tagged),
            (DeleteManifest, 409, &["ITS_OWN_CODE"], Tagged),
            (DeleteManifest, 409, &[], Conflict),
            (DeleteManifest, 412, &[], Policy),
            (DeleteManifest, 422, &[], Invalid),
            (DeleteManifest, 423, &[], InUse),
            (UploadBlob, 400, &["DIGEST_INVALID"], Invalid),
            (UploadBlob, 411, &[], Invalid),
            (UploadBlob, 413, &["SIZE_INVALID"], TooLarge),
            (UploadBlob, 415, &[], Invalid),
            (UploadBlob, 416, &["RANGE_INVALID"], Invalid),
            (UploadBlob, 422, &[], Unwanted),
            (CommitBlob, 404, &["BLOB_UPLOAD_UNKNOWN"], Missing),
            (UploadBlob, 507, &[], NoSpace),
            (UploadBlob, 408, &[], Unavailable),
            (UploadBlob, 425, &[], Unavailable),
            (UploadBlob, 500, &["UNKNOWN"], InternalError),
            (UploadBlob, 503, &[], Unavailable),
        ];
        for (operation, status, codes, expected) in cases {
            let codes: Vec<String> = codes.iter().map(|&code| code.to_owned()).collect();
            let status = StatusCode::from_u16(*status).unwrap();
            let found = kind(*operation, status, (&codes, ""), &Own);
            assert_eq!(found, *expected, "{operation:?} {status} {codes:?}");
        }
    }

    #[test]
    fn words_tell_what_codes_do_not() {
        let cases = [
            (
                412,
                "PRECONDITION: Failed to process request due to 'v1' configured as immutable.",
                Immutable,
            ),
            (
                412,
                "PROJECTPOLICYVIOLATION: current image with 3 vulnerabilities cannot be pulled",
                Policy,
            ),
            (400, "Client sent an HTTP request to an HTTPS server.", NeedsTls),
            (400, "400 The plain HTTP request was sent to HTTPS port", NeedsTls),
            (500, "UNKNOWN: unknown error (Err 28, Op write, Path /var/lib/registry/x)", NoSpace),
            (500, "UNKNOWN: filesystem: write /x: no space left on device", NoSpace),
            (500, "UNKNOWN: unknown error", InternalError),
            (404, "no space left", Missing),
        ];
        for (status, message, expected) in cases {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(kind(GetManifest, status, (&[], message), &Own), expected, "{message}");
        }
    }
}

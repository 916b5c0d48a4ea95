//! In which form a registry takes the bytes of a blob: what its refusals have shown, and which form
//! the next try has. Pure.
//!
//! - A refusal of the size or of the form as such holds for the registry: the next form is used from
//!   then on, and smaller chunks.
//! - Any other refusal may be about the bytes, or about a front end that mistreats this form. The blob
//!   is sent again in the same form, then once in each of the others. If one of those is accepted,
//!   and the usual one never was, it is the registry's form from then on.

use std::collections::HashMap;

use http::StatusCode;

use crate::oci::Digest;

/// The largest chunk that GHCR takes, and most proxies.
const CHUNK: u64 = 4 << 20;
/// Chunks for those that take less: nginx takes 1 MiB if it is not told otherwise.
const SMALLER: [u64; 3] = [1 << 20, 256 << 10, 64 << 10];
/// More blobs are not in doubt at once, unless their transfers were given up.
const MAX_DOUBTS: usize = 1000;

/// How bytes are sent, from the cheapest style to the most widely accepted one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Style {
    /// One PUT.
    #[default]
    Put,
    /// One PATCH without a range, and a closing PUT.
    Patch,
    /// Ranged PATCHes, and a closing PUT.
    Chunks,
}

const STYLES: [Style; 3] = [Style::Put, Style::Patch, Style::Chunks];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub style: Style,
    /// The size of chunks, in bytes.
    pub chunk: u64,
}

impl Default for Form {
    fn default() -> Self {
        Self { style: Style::default(), chunk: CHUNK }
    }
}

/// What a refusal of bytes is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objection {
    /// The request was too large, with a body of so many bytes.
    Size(u64),
    /// The form in which the bytes came.
    Form,
    /// That cannot be told, and the same request may get another answer.
    Unclear,
    /// That cannot be told, and the same request would get the same answer.
    Steady,
}

/// What is known about the forms that one registry takes.
#[derive(Debug, Default)]
pub(super) struct Forms {
    usual: Form,
    /// A blob was accepted in the usual form.
    proven: bool,
    /// The styles in which a blob was refused, as often as that counts.
    doubts: HashMap<Digest, Vec<Style>>,
}

impl Objection {
    /// Of an answer to a request with so many bytes. `None`: another form would not help.
    pub fn of(status: StatusCode, codes: &[String], length: u64) -> Option<Self> {
        let has = |code: &str| codes.iter().any(|found| found == code);
        if has("NAME_UNKNOWN") || has("NAME_INVALID") {
            return None;
        }
        let about_content = ["DIGEST_INVALID", "BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"];
        let about_content = about_content.into_iter().any(has);
        match status.as_u16() {
            // With these, SIZE_INVALID is about the request's length, else about the blob's.
            413 => Some(Self::Size(length)),
            416 if has("SIZE_INVALID") => Some(Self::Size(length)),
            416 if !about_content => Some(Self::Form),
            400 | 405 | 411 | 415 | 501 if !about_content && !has("SIZE_INVALID") => {
                Some(Self::Form)
            }
            400 | 404 | 405 | 411 | 415 | 416 | 500 | 501 => Some(Self::Unclear),
            422 => Some(Self::Steady),
            _ => None,
        }
    }
}

impl Forms {
    /// The form for the next try of a blob.
    pub fn of(&self, blob: &Digest) -> Form {
        let usual = self.usual;
        let next = self.doubts.get(blob).and_then(|refused| next_style(usual.style, refused));
        Form { style: next.unwrap_or(usual.style), ..usual }
    }

    /// A blob was accepted in this form.
    pub fn accepted(&mut self, blob: &Digest, used: Form) {
        let was_doubted = self.doubts.remove(blob).is_some();
        if was_doubted && !self.proven {
            self.usual.style = used.style;
        }
        self.proven |= used.style == self.usual.style;
    }

    /// A blob was refused in this form. `true`: there is another one, in which it was not refused yet,
    /// for the next try.
    pub fn refused(&mut self, blob: &Digest, used: Form, objection: Objection) -> bool {
        if let Objection::Size(length) = objection
            && self.shrink(used, length)
        {
            return true;
        }
        let next = STYLES.into_iter().find(|style| *style > used.style);
        match objection {
            // In another form than the usual one, it is this blob that is in doubt.
            Objection::Size(_) | Objection::Form if used.style == self.usual.style => {
                if let Some(next) = next {
                    (self.usual.style, self.proven) = (next, false);
                }
                return next.is_some();
            }
            _ => {}
        }
        if self.doubts.len() >= MAX_DOUBTS {
            self.doubts.clear();
        }
        let refused = self.doubts.entry(blob.clone()).or_default();
        refused.push(used.style);
        if objection != Objection::Unclear {
            refused.push(used.style);
        }
        let next = next_style(self.usual.style, refused);
        if next.is_none() {
            self.doubts.remove(blob);
        }
        next.is_some_and(|next| next != used.style)
    }

    /// Uses smaller requests than one of so many bytes; `false`: there are none.
    fn shrink(&mut self, used: Form, length: u64) -> bool {
        let sizes = [CHUNK].into_iter().chain(SMALLER);
        let Some(fits) = sizes.into_iter().find(|size| *size < length) else { return false };
        let chunk = fits.min(self.usual.chunk);
        // Others that still used the old form may have learnt more meanwhile.
        let is_new = (used.style, used.chunk) != (Style::Chunks, chunk);
        if (self.usual.style, self.usual.chunk) != (Style::Chunks, chunk) {
            self.usual = Form { style: Style::Chunks, chunk };
            self.proven = false;
        }
        is_new
    }
}

/// The style for a blob that was refused in these: the usual one twice, then each of the others once.
/// `None`: it was refused in all of them.
fn next_style(usual: Style, refused: &[Style]) -> Option<Style> {
    let times = |style: Style| refused.iter().filter(|it| **it == style).count();
    if times(usual) < 2 {
        return Some(usual);
    }
    let later = STYLES.into_iter().filter(|style| *style > usual);
    let earlier = STYLES.into_iter().filter(|style| *style < usual);
    later.chain(earlier).find(|style| times(*style) == 0)
}

#[cfg(test)]
mod tests {
    use super::Objection::{Form as ByForm, Size, Steady, Unclear};
    use super::Style::{Chunks, Patch, Put};
    use super::*;

    fn blob(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    /// The styles and chunks of the tries of one blob, each refused for this reason.
    fn tries(forms: &mut Forms, name: &str, objections: &[Objection]) -> Vec<(Style, u64)> {
        let tries = objections.iter().map(|objection| {
            let used = forms.of(&blob(name));
            if forms.refused(&blob(name), used, *objection) {
                assert_ne!(forms.of(&blob(name)), used, "{objection:?}");
            }
            (used.style, used.chunk >> 10)
        });
        tries.collect()
    }

    #[test]
    fn a_steady_refusal_is_final_after_the_last_form() {
        let mut forms = Forms::default();
        let others = STYLES.map(|style| {
            let used = forms.of(&blob("blob"));
            assert_eq!(used.style, style);
            forms.refused(&blob("blob"), used, Steady)
        });
        assert_eq!(others, [true, true, false]);
        assert!(forms.doubts.is_empty());
    }

    #[test]
    fn each_form_is_tried_before_a_blob_is_given_up() {
        let styles = |objections: &[Objection]| {
            let tries = tries(&mut Forms::default(), "blob", objections);
            tries.into_iter().map(|(style, _)| style).collect::<Vec<_>>()
        };
        assert_eq!(styles(&[Unclear; 6]), [Put, Put, Patch, Chunks, Put, Put]);
        assert_eq!(styles(&[Steady; 4]), [Put, Patch, Chunks, Put]);
        assert_eq!(styles(&[ByForm; 4]), [Put, Patch, Chunks, Chunks]);
        // What is not taken at all in another form says nothing about the usual one.
        assert_eq!(styles(&[Unclear, Unclear, ByForm, Unclear]), [Put, Put, Patch, Chunks]);
        assert_eq!(
            styles(&[ByForm, Unclear, Unclear, Unclear, Unclear])[1..],
            [Patch, Patch, Chunks, Put]
        );
    }

    #[test]
    fn chunks_shrink_until_they_fit() {
        let (large, mib) = (Size(9 << 20), |size: u64| Size(size << 10));
        let mut forms = Forms::default();
        let sizes = [large, mib(4096), mib(1024), mib(256), mib(64)];
        let expected = [(Put, 4096), (Chunks, 4096), (Chunks, 1024), (Chunks, 256), (Chunks, 64)];
        assert_eq!(tries(&mut forms, "blob", &sizes), expected);
        // There is nothing smaller, and the registry's form stays.
        assert_eq!(forms.of(&blob("other")), Form { style: Chunks, chunk: 64 << 10 });

        // A blob that would fit into one chunk is cut as well.
        let mut forms = Forms::default();
        assert_eq!(tries(&mut forms, "blob", &[Size(3 << 20)]), [(Put, 4096)]);
        assert_eq!(forms.of(&blob("blob")), Form { style: Chunks, chunk: 1 << 20 });
        // What others sent before that was known does not make chunks larger again.
        forms.refused(&blob("late"), Form::default(), large);
        assert_eq!(forms.of(&blob("late")), Form { style: Chunks, chunk: 1 << 20 });
        // A request that cannot be smaller takes another form.
        let small = tries(&mut Forms::default(), "blob", &[Size(100), Size(100), Size(100)]);
        assert_eq!(small, [(Put, 4096), (Patch, 4096), (Chunks, 4096)]);
    }

    #[test]
    fn the_form_that_works_is_remembered() {
        let mut forms = Forms::default();
        tries(&mut forms, "first", &[Unclear, Unclear]);
        let other = forms.of(&blob("first"));
        forms.accepted(&blob("first"), other);
        assert_eq!(forms.of(&blob("second")).style, Patch);
        // It is proven now: one blob with which something is wrong changes nothing.
        tries(&mut forms, "odd", &[Unclear, Unclear]);
        let other = forms.of(&blob("odd"));
        assert_eq!(other.style, Chunks);
        forms.accepted(&blob("odd"), other);
        assert_eq!(forms.of(&blob("third")).style, Patch);
        // A second try that is accepted is no doubt about the form.
        let mut forms = Forms::default();
        tries(&mut forms, "first", &[Unclear]);
        forms.accepted(&blob("first"), Form::default());
        assert_eq!(forms.of(&blob("first")).style, Put);
        assert!(forms.doubts.is_empty());
    }

    #[test]
    fn doubts_are_bounded() {
        let mut forms = Forms::default();
        for at in 0..3 * MAX_DOUBTS {
            tries(&mut forms, &at.to_string(), &[Unclear]);
        }
        assert!(forms.doubts.len() <= MAX_DOUBTS);
    }

    #[test]
    fn objections_are_read() {
        let cases: &[(u16, &str, Option<Objection>)] = &[
            (413, "", Some(Size(7))),
            (413, "SIZE_INVALID", Some(Size(7))),
            (416, "SIZE_INVALID", Some(Size(7))),
            (416, "RANGE_INVALID", Some(ByForm)),
            (416, "BLOB_UPLOAD_INVALID", Some(Unclear)),
            (411, "", Some(ByForm)),
            (405, "UNSUPPORTED", Some(ByForm)),
            (400, "", Some(ByForm)),
            (400, "SIZE_INVALID", Some(Unclear)),
            (400, "DIGEST_INVALID", Some(Unclear)),
            (404, "BLOB_UPLOAD_UNKNOWN", Some(Unclear)),
            (404, "", Some(Unclear)),
            (500, "UNKNOWN", Some(Unclear)),
            (422, "", Some(Steady)),
            (404, "NAME_UNKNOWN", None),
            (400, "NAME_INVALID", None),
            (401, "UNAUTHORIZED", None),
            (403, "DENIED", None),
            (429, "TOOMANYREQUESTS", None),
            (503, "", None),
            (507, "", None),
        ];
        for (status, code, expected) in cases {
            let codes = [(*code).to_owned()];
            let status = StatusCode::from_u16(*status).unwrap();
            assert_eq!(Objection::of(status, &codes, 7), *expected, "{status} {code}");
        }
    }
}

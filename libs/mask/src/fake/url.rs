//! Web addresses that can't resolve: `https://u<keyed bits>.example.invalid` (RFC 2606 section 2, RFC 6761 section 6.4).

use super::draw::push_base32;
use crate::key::Subkey;

const SCHEME: &str = "https://u";
const DOMAIN: &str = ".example.invalid";
/// 80 bits.
const HOST_CHARS: usize = 16;
/// 65 bits, the first count above 64.
const HOST_CHARS_MIN: usize = 13;
/// The shortest field that can hold such an address.
pub(crate) const URL_CHARS_MIN: u32 = (SCHEME.len() + HOST_CHARS_MIN + DOMAIN.len()) as u32;

pub(super) fn write(key: &Subkey, input: &str, chars_max: usize, out: &mut String) {
    let room = chars_max.saturating_sub(SCHEME.len() + DOMAIN.len());
    out.clear();
    out.push_str(SCHEME);
    push_base32(&key.prf(input.as_bytes()), room.min(HOST_CHARS), out);
    out.push_str(DOMAIN);
}

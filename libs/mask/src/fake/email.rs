//! E-mail addresses that can't be delivered to: `u<keyed bits>@example.invalid`.
//!
//! `invalid` is reserved so that names under it are "obviously invalid at a glance" and are never delegated
//! (RFC 2606 section 2; RFC 6761 section 6.4 has resolvers answer NXDOMAIN). The local part holds 100 keyed bits where the
//! field has room (37 characters) and never fewer than 65; distinct addresses stay distinct up to the birthday bound
//! (odds of one collision among 10^9 addresses: 4 in 10^13).

use super::draw::push_base32;
use crate::key::Subkey;

const DOMAIN: &str = "@example.invalid";
/// 100 bits.
const LOCAL_CHARS: usize = 20;
/// 65 bits, the first count above 64.
const LOCAL_CHARS_MIN: usize = 13;
/// The shortest field that can hold such an address.
pub(crate) const EMAIL_CHARS_MIN: u32 = (1 + LOCAL_CHARS_MIN + DOMAIN.len()) as u32;

/// `folded`: the address, trimmed and in lower case.
pub(super) fn write(key: &Subkey, folded: &str, chars_max: usize, out: &mut String) {
    let room = chars_max.saturating_sub(1 + DOMAIN.len());
    out.clear();
    out.push('u');
    push_base32(&key.prf(folded.as_bytes()), room.min(LOCAL_CHARS), out);
    out.push_str(DOMAIN);
}

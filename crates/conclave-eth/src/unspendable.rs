//! Addresses from which nobody can spend: what arrives there is gone. Withdrawals and fees are credited without a call, so a contract
//! that does not expect them never hands them on.

use super::address::Address;

/// Addresses that begin with so many zero bytes have no key, nobody ever finds one: the zero address, the precompiled contracts, and
/// words such as `0x0...deadbeef`.
const ZEROS: usize = 10;

/// Why the others are nobody's.
const BURN: &str = "it is an address to burn money: nobody has its key";
const DEPOSITS: &str = "it is the deposit contract, which hands nothing back";
const REHEARSAL: &str = "it is the address for rehearsals: nobody has its key";
const SYSTEM: &str = "it is a contract of the chain itself, which hands nothing back";

/// Without a key, or contracts that hand nothing on. On other networks than those named nobody has a key for them either.
const KNOWN: [(&str, &str); 22] = [
    ("000000000000000000000000000000000000dead", BURN),
    ("dead000000000000000042069420694206942069", BURN),
    ("deaddeaddeaddeaddeaddeaddeaddeaddeaddead", BURN),
    ("deadbeefdeadbeefdeadbeefdeadbeefdeadbeef", BURN),
    ("dead00000000000000000000000000000000dead", BURN),
    ("ffffffffffffffffffffffffffffffffffffffff", BURN),
    // "conclave rehearsal!!".
    ("636f6e636c6176652072656865617273616c2121", REHEARSAL),
    // Stands for Ether in many programs.
    ("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee", BURN),
    // Mainnet and Hoodi; Holesky and development chains; Sepolia; Goerli; Gnosis; Chiado.
    ("00000000219ab540356cbb839cbe05303d7705fa", DEPOSITS),
    ("4242424242424242424242424242424242424242", DEPOSITS),
    ("7f02c3e3c98b133055b8b348b2ac625669ed295d", DEPOSITS),
    ("ff50ed3d0ec03ac01d4c79aad74928bff48a7b2b", DEPOSITS),
    ("0b98057ea310f4d31f2a452b414647007d1645d9", DEPOSITS),
    ("b97036a26259b7147018913bd58a774cf91acf25", DEPOSITS),
    // Who calls the contracts of the chain: nobody.
    ("fffffffffffffffffffffffffffffffffffffffe", SYSTEM),
    // EIP-4788, EIP-2935, EIP-7002, EIP-7251.
    ("000f3df6d732807ef1319fb7b8bb8522d0beac02", SYSTEM),
    ("0000f90827f1c53a10cb7a02335b175320002935", SYSTEM),
    ("00000961ef480eb55e80d19ad83579a64c007002", SYSTEM),
    ("0000bbddc7ce488642fb579f8b00f3a590007251", SYSTEM),
    // The factory of contracts with the same address everywhere (EIP-2470), and the two that are used like it.
    ("ce0042b868300000d44a59004da54a005ffdcf9f", SYSTEM),
    ("4e59b44847b379578588920ca78fbf26c0b4956c", SYSTEM),
    ("914d7fec6aac8cd542e72bca78b30650d45643d7", SYSTEM),
];

/// Digits in order, as documents write them where an address of one's own belongs.
const EXAMPLES: [&str; 4] = [
    "0123456789012345678901234567890123456789",
    "1234567890123456789012345678901234567890",
    "0123456789abcdef0123456789abcdef01234567",
    "1234567890abcdef1234567890abcdef12345678",
];

/// Why nobody can spend what is sent to this address, in words; `None` if it may be somebody's.
pub fn unspendable(address: &Address) -> Option<&'static str> {
    if address.is_zero() {
        return Some("it is the zero address: nobody has its key");
    }
    if let Some((_, why)) = KNOWN
        .iter()
        .find(|(text, _)| Address::parse_any_case(text) == Ok(*address))
    {
        return Some(why);
    }
    let bytes = &address.0;
    if bytes.iter().take(18).all(|byte| *byte == 0) {
        return Some("it is an address of the contracts that are built into the chain: nobody has its key");
    }
    // Examples of documents and dead ends: one digit again and again, or the same few bytes.
    let repeats = |period: usize| bytes.iter().zip(bytes.iter().skip(period)).all(|(a, b)| a == b);
    let zeros = bytes.iter().take(ZEROS).all(|byte| *byte == 0);
    (zeros || repeats(1) || repeats(2) || EXAMPLES.contains(&hex::encode(bytes).as_str())).then_some(BURN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<&'static str> {
        unspendable(&Address::parse_checksummed(text).unwrap())
    }

    /// As their documents write them: with checksums, so a mistake in one would show.
    #[test]
    fn what_nobody_can_spend_from_is_known() {
        for (text, why) in [
            ("0x0000000000000000000000000000000000000000", "zero"),
            ("0x0000000000000000000000000000000000000001", "built into"),
            ("0x0000000000000000000000000000000000000011", "built into"),
            ("0x0000000000000000000000000000000000000100", "built into"),
            ("0x000000000000000000000000000000000000dEaD", "burn"),
            ("0xdEAD000000000000000042069420694206942069", "burn"),
            ("0x00000000000000000000000000000000DeaDBeef", "burn"),
            ("0x1111111111111111111111111111111111111111", "burn"),
            ("0xDeaDbeefdEAdbeefdEadbEEFdeadbeEFdEaDbeeF", "burn"),
            ("0x1234567890123456789012345678901234567890", "burn"),
            ("0x0000000000000000000000000000000000010000", "burn"),
            ("0x00000000219ab540356cBB839Cbe05303d7705Fa", "deposit"),
            ("0x4242424242424242424242424242424242424242", "deposit"),
            ("0x7f02C3E3c98b133055B8B348B2Ac625669Ed295D", "deposit"),
            ("0xff50ed3d0ec03aC01D4C79aAd74928BFF48a7b2b", "deposit"),
            ("0x0B98057eA310F4d31F2a452B414647007d1645d9", "deposit"),
            ("0xb97036A26259B7147018913bD58a774cf91acf25", "deposit"),
            ("0x000F3df6D732807Ef1319fB7B8bB8522d0Beac02", "chain itself"),
            ("0x0000F90827F1C53a10cb7A02335B175320002935", "chain itself"),
            ("0x00000961Ef480Eb55e80D19ad83579A64c007002", "chain itself"),
            ("0x0000BBdDc7CE488642fb579F8B00f3a590007251", "chain itself"),
            ("0x4e59b44847b379578588920cA78FbF26c0B4956C", "chain itself"),
            ("0xce0042B868300000d44A59004Da54A005ffdcf9f", "chain itself"),
        ] {
            assert!(of(text).is_some_and(|told| told.contains(why)), "{text}");
        }
        let repeated = Address([0xab; 20]);
        assert!(unspendable(&repeated).is_some_and(|told| told.contains("burn")));
        for (text, _) in KNOWN {
            assert!(
                unspendable(&Address::parse_any_case(text).unwrap()).is_some(),
                "{text}"
            );
        }
    }

    #[test]
    fn what_may_be_somebodys_is_not() {
        for text in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0x0000000000000000000100000000000000000000",
            "0x71C7656EC7ab88b098defB751B7401B5f6d8976F",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}

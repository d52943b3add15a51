//! The operating system's randomness, for everything below that must not draw any by itself.

use rand::TryRng;

use super::problem::Problem;

/// A seed for the weights with which equations are checked together, 32 bytes. Fresh for each command: whoever made what is
/// checked must not foresee it.
///
/// # Errors
/// If the operating system gives no randomness.
pub fn weight_seed() -> Result<[u8; 32], Problem> {
    let mut bytes = [0; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(|error| {
        Problem::other(
            "cannot start",
            error,
            "the operating system gives no randomness: use another machine",
        )
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_seeds_are_alike() {
        assert_ne!(weight_seed().unwrap(), weight_seed().unwrap());
    }
}

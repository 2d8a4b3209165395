//! Jitter: what keeps lanes from trying again in step.

/// Numbers that look random, from a beginning that each lane has to itself.
#[derive(Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// Begins with a number that no other lane has.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Draws from 0 to 1 (SplitMix64, by its upper bits).
    pub(super) fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let upper = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(u32::MAX);
        f64::from(upper) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_with_other_seeds_draw_other_fractions_of_one() {
        let draw = |seed: u64| {
            let mut jitter = Jitter::new(seed);
            [jitter.fraction(), jitter.fraction(), jitter.fraction()]
        };
        let (one, other) = (draw(1), draw(2));

        assert!(one.iter().all(|fraction| (0.0..=1.0).contains(fraction)), "{one:?}");
        assert!(one.iter().zip(&other).all(|(one, other)| one != other), "{one:?} {other:?}");
        assert_eq!(one, draw(1));
    }
}

//! Jitter: what keeps lanes from trying again in step.

use std::time::Duration;

/// The longest pause between two questions of an errand: who has mended a registry does not want to
/// wait.
const PAUSE_MAX: Duration = Duration::from_secs(4);

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

/// The pauses between an errand's questions, while nobody answers: each about twice as long as the one
/// before.
#[derive(Debug)]
pub(super) struct Pauses {
    longest: Duration,
    jitter: Jitter,
}

impl Pauses {
    /// Begins with one of at most a second.
    pub(super) fn new(lane: &mut Jitter) -> Self {
        let jitter = Jitter(lane.fraction().to_bits());
        Self { longest: Duration::from_secs(1), jitter }
    }

    /// Returns the next one.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.longest.mul_f64(0.5 + self.jitter.fraction() / 2.0);
        self.longest = (self.longest * 2).min(PAUSE_MAX);
        pause
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

    #[test]
    fn pauses_grow_to_their_bound_and_differ_from_errand_to_errand() {
        let mut lane = Jitter::new(1);
        let mut draw = || {
            let mut pauses = Pauses::new(&mut lane);
            std::array::from_fn::<_, 5, _>(|_| pauses.next().as_secs_f64())
        };
        let (one, other) = (draw(), draw());

        for (pause, longest) in one.iter().zip([1.0, 2.0, 4.0, 4.0, 4.0]) {
            assert!((longest / 2.0..=longest).contains(pause), "{one:?}");
        }
        assert!(one.iter().zip(&other).all(|(one, other)| one != other), "{one:?} {other:?}");
    }
}

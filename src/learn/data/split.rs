//! Stratified draws: which images a split takes, with every class in its share.

use rand_chacha::{ChaCha8Rng, rand_core::RngCore};

/// Draws `take` of the images `among` (ascending indices into `labels`), stratified by class.
///
/// Returns the drawn and the left, both ascending. Every class gives its share of `take`, rounded by
/// largest remainder. `take` must not exceed `among.len()`.
pub(super) fn stratified(
    labels: &[u8],
    among: &[u32],
    take: usize,
    classes: usize,
    rng: &mut ChaCha8Rng,
) -> (Vec<u32>, Vec<u32>) {
    assert!(take <= among.len(), "{take} images of {}", among.len());
    let mut by_class = vec![Vec::new(); classes];
    for &index in among {
        by_class[usize::from(labels[index as usize])].push(index);
    }
    let sizes: Vec<usize> = by_class.iter().map(Vec::len).collect();
    let (mut drawn, mut left) = (Vec::with_capacity(take), Vec::with_capacity(among.len() - take));
    for (mut members, share) in by_class.into_iter().zip(apportion(take, &sizes)) {
        shuffle(&mut members, rng);
        drawn.extend_from_slice(&members[..share]);
        left.extend_from_slice(&members[share..]);
    }
    drawn.sort_unstable();
    left.sort_unstable();
    (drawn, left)
}

/// `take` shared out in proportion to `sizes`, by largest remainder, ties to the lower class; no share
/// exceeds its size.
fn apportion(take: usize, sizes: &[usize]) -> Vec<usize> {
    let all: usize = sizes.iter().sum();
    if all == 0 {
        return vec![0; sizes.len()];
    }
    let mut shares: Vec<usize> = sizes.iter().map(|size| take * size / all).collect();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    by_remainder.sort_by_key(|&class| std::cmp::Reverse(take * sizes[class] % all));
    let missing = take - shares.iter().sum::<usize>();
    for &class in by_remainder.iter().take(missing) {
        shares[class] += 1;
    }
    shares
}

/// A uniform random permutation in place (Fisher and Yates). Written out, so that no release of a
/// library changes the bits.
pub(super) fn shuffle(items: &mut [u32], rng: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        let other = ((u128::from(rng.next_u64()) * (last as u128 + 1)) >> 64) as usize;
        items.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_are_proportional_and_add_up() {
        assert_eq!(apportion(10, &[50, 30, 20]), [5, 3, 2]);
        assert_eq!(apportion(7, &[10, 10, 10]), [3, 2, 2]);
        assert_eq!(apportion(0, &[0, 0]), [0, 0]);
    }

    proptest! {
        #[test]
        fn every_class_of_a_balanced_set_is_in_both_parts(samples in 20_usize..400, fraction in 0.01_f64..=0.5) {
            let take = (samples as f64 * fraction).round() as usize;
            prop_assume!(take >= 10);
            let labels: Vec<u8> = (0..samples).map(|index| (index % 10) as u8).collect();
            let among: Vec<u32> = (0..samples as u32).collect();
            let (drawn, left) = stratified(&labels, &among, take, 10, &mut crate::base::rng::stream(1, "test", 0));
            prop_assert_eq!(drawn.len(), take);
            for part in [&drawn, &left] {
                for class in 0..10 {
                    prop_assert!(part.iter().any(|&index| labels[index as usize] == class));
                }
            }
            let mut all = [drawn, left].concat();
            all.sort_unstable();
            prop_assert_eq!(all, among);
        }

        #[test]
        fn no_share_exceeds_its_class(sizes in prop::collection::vec(0_usize..50, 1..12), fraction in 0.0_f64..=1.0) {
            let all: usize = sizes.iter().sum();
            let take = (all as f64 * fraction) as usize;
            let shares = apportion(take, &sizes);
            prop_assert_eq!(shares.iter().sum::<usize>(), take);
            for (share, size) in shares.iter().zip(&sizes) {
                prop_assert!(share <= size);
            }
        }
    }
}

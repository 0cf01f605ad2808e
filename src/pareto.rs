//! Dominance, fronts and hypervolume: pure functions of numbers.

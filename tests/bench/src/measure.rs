//! What many single figures come to.

/// The value below which `share` of the figures lie; 0 without any.
pub(crate) fn quantile(figures: &mut [f64], share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let Some(last) = figures.len().checked_sub(1) else { return 0.0 };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place among figures that are held in memory"
    )]
    let place = (last as f64 * share).round() as usize;
    figures[place.min(last)]
}

/// The one in the middle.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    quantile(&mut figures, 0.5)
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2⁵³")]
pub(crate) fn figure(count: u64) -> f64 {
    count as f64
}

/// How many there are, as a figure.
pub(crate) fn size<T>(all: &[T]) -> f64 {
    figure(u64::try_from(all.len()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_figures_that_were_measured() {
        let figures = [5.0, 1.0, 4.0, 2.0, 3.0];
        let cases: [(&[f64], f64, f64); 5] = [
            (&figures, 0.0, 1.0),
            (&figures, 0.5, 3.0),
            (&figures, 0.99, 5.0),
            (&[7.0], 0.5, 7.0),
            (&[], 0.5, 0.0),
        ];
        for (figures, share, expected) in cases {
            let found = quantile(&mut figures.to_vec(), share);
            assert!((found - expected).abs() < f64::EPSILON, "{found} of {figures:?}");
        }
    }
}

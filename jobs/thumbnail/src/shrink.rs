//! Shrinks an image by averaging areas.
//!
//! A pixel of the result covers a rectangle of the source, whose borders may lie inside source pixels. Lengths are measured in units that
//! divide both: along one edge, a source pixel is `to` units long and a pixel of the result `from` units. Therefore all weights are integers,
//! and the result is the same on every machine.

/// The length of an edge in pixels, before and after.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    pub(crate) from: u32,
    pub(crate) to: u32,
}

impl Edge {
    /// Calls `cover` with each pixel of the result that the source pixel `at` overlaps, and the overlap in units.
    fn covered(self, at: u32, mut cover: impl FnMut(u32, u64)) {
        let (from, to) = (u64::from(self.from), u64::from(self.to));
        let end = (u64::from(at) + 1) * to;
        let mut start = u64::from(at) * to;
        while start < end {
            let pixel = start / from;
            let next = end.min((pixel + 1) * from);
            cover(u32::try_from(pixel).expect("a pixel of the result is below `to`"), next - start);
            start = next;
        }
    }
}

/// Accepts the rows of an image from top to bottom, and computes the rows of the smaller image.
#[derive(Debug)]
pub(crate) struct Shrink {
    width: Edge,
    height: Edge,
    /// Samples per pixel: 1 for grey, 2 for grey and alpha, 3 for RGB, 4 for RGB and alpha.
    channels: usize,
    /// Number of accepted source rows.
    taken: u32,
    /// Number of complete rows of the result.
    ended: u32,
    /// The last source row, summed along the row. One element per sample of the result.
    row: Vec<u64>,
    /// The weighted sums of the current row of the result.
    sums: Vec<u64>,
    /// The complete rows, as 8-bit samples.
    done: Vec<u8>,
}

impl Shrink {
    /// Creates the computation. No edge may grow.
    pub(crate) fn new(width: Edge, height: Edge, channels: usize) -> Self {
        let samples = width.to as usize * channels;
        Self {
            width,
            height,
            channels,
            taken: 0,
            ended: 0,
            row: vec![0; samples],
            sums: vec![0; samples],
            done: Vec::new(),
        }
    }

    /// Accepts the next row.
    pub(crate) fn row(&mut self, samples: &[u8]) {
        self.sum_up_along_row(samples);
        let (edge, at) = (self.height, self.taken);
        self.taken += 1;
        edge.covered(at, |pixel, weight| {
            // Rows arrive from top to bottom, so the current row of the result is complete when the next one starts.
            if pixel > self.ended {
                self.end_row();
            }
            for (sum, sample) in self.sums.iter_mut().zip(&self.row) {
                *sum += weight * sample;
            }
        });
    }

    /// Returns the smaller image. All rows must have been accepted.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.end_row();
        self.done
    }

    /// Sums the samples along the row. Weights colours by alpha, so that transparent pixels contribute no colour.
    fn sum_up_along_row(&mut self, samples: &[u8]) {
        self.row.fill(0);
        for (at, pixel) in (0..).zip(samples.chunks_exact(self.channels)) {
            let (colours, alpha) = split(pixel);
            self.width.covered(at, |to, weight| {
                let sums = &mut self.row[to as usize * self.channels..][..self.channels];
                for (sum, colour) in sums.iter_mut().zip(colours) {
                    *sum += weight * alpha.unwrap_or(1) * u64::from(*colour);
                }
                if let Some(alpha) = alpha {
                    sums[self.channels - 1] += weight * alpha;
                }
            });
        }
    }

    /// Completes a row: divides the sums by their weights.
    fn end_row(&mut self) {
        let area = u64::from(self.width.from) * u64::from(self.height.from);
        for sums in self.sums.chunks_exact_mut(self.channels) {
            let has_alpha = self.channels.is_multiple_of(2);
            let (colours, alpha) = sums.split_at(self.channels - usize::from(has_alpha));
            let weight = if has_alpha { alpha[0] } else { area };
            self.done.extend(colours.iter().map(|sum| sample(*sum, weight)));
            self.done.extend(alpha.iter().map(|sum| sample(*sum, area)));
            sums.fill(0);
        }
        self.ended += 1;
    }
}

fn split(pixel: &[u8]) -> (&[u8], Option<u64>) {
    match pixel {
        [colours @ .., alpha] if pixel.len().is_multiple_of(2) => (colours, Some(u64::from(*alpha))),
        colours => (colours, None),
    }
}

/// Returns the quotient, rounded to the nearest integer.
fn sample(sum: u64, weight: u64) -> u8 {
    match weight {
        0 => 0,
        weight => u8::try_from((sum + weight / 2) / weight).expect("an average is within the range of its samples"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: (u32, u32), to: (u32, u32), channels: usize, samples: &[u8], expected: &[u8]) {
        let (width, height) = (Edge { from: from.0, to: to.0 }, Edge { from: from.1, to: to.1 });
        let mut shrink = Shrink::new(width, height, channels);
        assert_eq!(samples.len(), from.0 as usize * from.1 as usize * channels);
        samples.chunks(from.0 as usize * channels).for_each(|row| shrink.row(row));
        assert_eq!(shrink.finish(), expected);
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        let samples: Vec<u8> = (0..=255).collect();
        check((16, 16), (16, 16), 1, &samples, &samples);
    }

    #[test]
    fn pixels_are_averaged_and_rounded_to_the_nearest() {
        check((2, 2), (1, 1), 1, &[0, 10, 20, 40], &[18]);
        check((2, 1), (1, 1), 3, &[10, 20, 30, 30, 40, 51], &[20, 30, 41]);
        check((4, 2), (2, 1), 1, &[0, 4, 100, 104, 8, 12, 108, 112], &[6, 106]);
    }

    #[test]
    fn a_border_within_a_source_pixel_splits_it() {
        check((3, 1), (2, 1), 1, &[0, 90, 240], &[30, 190]);
        check((1, 3), (1, 2), 1, &[0, 90, 240], &[30, 190]);
        check((5, 5), (2, 2), 1, &[50; 25], &[50; 4]);
    }

    #[test]
    fn one_colour_stays_that_colour_at_any_size() {
        for (from, to) in [(7, 3), (13, 12), (128, 1), (101, 100)] {
            let samples = [200, 100, 50].repeat(from as usize * from as usize);
            check((from, from), (to, to), 3, &samples, &[200, 100, 50].repeat(to as usize * to as usize));
        }
    }

    #[test]
    fn transparent_pixels_give_no_colour() {
        check((2, 1), (1, 1), 4, &[255, 0, 0, 255, 0, 255, 0, 0], &[255, 0, 0, 128]);
        check((2, 1), (1, 1), 2, &[90, 0, 30, 0], &[0, 0]);
        check((2, 1), (1, 1), 2, &[100, 255, 200, 85], &[125, 170]);
    }
}

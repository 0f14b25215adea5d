//! What calls that ran alone have shown of the rows of a model's outputs.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::RwLock;

use crate::tensor::Tensor;

/// Shapes of inputs that are remembered; for another one the oldest is forgotten.
const MOST: usize = 256;

/// The shapes of a row of outputs, by those of a row of the inputs.
#[derive(Default)]
pub(super) struct KnownRows(RwLock<VecDeque<Known>>);

struct Known {
    inputs: Vec<Vec<usize>>,
    /// By the output's place in the model.
    outputs: BTreeMap<usize, Vec<usize>>,
}

impl Known {
    fn is_of(&self, inputs: &[Tensor]) -> bool {
        self.inputs.iter().map(Vec::as_slice).eq(inputs.iter().map(Tensor::row_shape))
    }

    fn odd(&self, places: &[usize], outputs: &[Tensor]) -> Option<usize> {
        let is_odd = |(place, output): &(&usize, &Tensor)| {
            self.outputs.get(*place).is_some_and(|row| row != output.row_shape())
        };
        places.iter().zip(outputs).find(is_odd).map(|(place, _)| *place)
    }
}

impl KnownRows {
    /// Whether a row of each of these outputs is known for such inputs.
    pub(super) fn have(&self, inputs: &[Tensor], places: &[usize]) -> bool {
        let known = self.0.read();
        let known = known.iter().find(|known| known.is_of(inputs));
        known.is_some_and(|known| places.iter().all(|place| known.outputs.contains_key(place)))
    }

    /// The output, if any, whose rows have another shape than they had before with such inputs.
    pub(super) fn odd(&self, inputs: &[Tensor], places: &[usize], outputs: &[Tensor]) -> Option<usize> {
        let known = self.0.read();
        known.iter().find(|known| known.is_of(inputs))?.odd(places, outputs)
    }

    /// Remembers the rows of a call that ran alone; or else answers as [`Self::odd`].
    pub(super) fn note(&self, inputs: &[Tensor], places: &[usize], outputs: &[Tensor]) -> Option<usize> {
        if self.have(inputs, places) {
            return self.odd(inputs, places, outputs);
        }
        let mut all = self.0.write();
        let rows = places.iter().zip(outputs).map(|(&place, output)| (place, output.row_shape().to_vec()));
        // Another session may have noted such a call meanwhile.
        if let Some(known) = all.iter_mut().find(|known| known.is_of(inputs)) {
            let odd = known.odd(places, outputs);
            if odd.is_none() {
                known.outputs.extend(rows);
            }
            return odd;
        }
        if all.len() == MOST {
            all.pop_front();
        }
        let inputs = inputs.iter().map(|input| input.row_shape().to_vec()).collect();
        all.push_back(Known { inputs, outputs: rows.collect() });
        None
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;
    use crate::tensor::{DataType, TensorData, element_count};

    fn tensor(shape: &[usize]) -> [Tensor; 1] {
        let data = TensorData::zeros(DataType::Fp32, element_count(shape).unwrap());
        [Tensor::new(shape.to_vec(), data).unwrap()]
    }

    #[test]
    fn rows_are_known_by_the_shape_of_the_inputs_but_for_the_first_dimension() {
        let known = KnownRows::default();
        assert!(!known.have(&tensor(&[1, 2]), &[0]));
        known.note(&tensor(&[1, 2]), &[0], &tensor(&[1, 5]));
        assert!(known.have(&tensor(&[9, 2]), &[0]) && known.have(&tensor(&[9, 2]), &[]));
        assert!(!known.have(&tensor(&[9, 2]), &[0, 1]) && !known.have(&tensor(&[1, 3]), &[0]));
        assert_eq!(known.odd(&tensor(&[2, 2]), &[0], &tensor(&[2, 5])), None);
        assert_eq!(known.odd(&tensor(&[2, 2]), &[0], &tensor(&[2, 6])), Some(0));
        assert_eq!(known.odd(&tensor(&[2, 3]), &[0], &tensor(&[2, 6])), None, "not known yet");
        known.note(&tensor(&[1, 2]), &[1], &tensor(&[1]));
        assert!(known.have(&tensor(&[9, 2]), &[1, 0]));
    }

    #[test]
    fn however_many_shapes_come_few_are_kept() {
        let known = KnownRows::default();
        for width in 0..2 * MOST {
            known.note(&tensor(&[1, width]), &[0], &tensor(&[1]));
        }
        assert_eq!(known.0.read().len(), MOST);
        assert!(known.have(&tensor(&[1, 2 * MOST - 1]), &[0]) && !known.have(&tensor(&[1, 0]), &[0]));
    }
}

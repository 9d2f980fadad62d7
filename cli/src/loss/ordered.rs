//! An order of the classes, for a filter.

use surprisal::loss::ClassOrder;

use super::arguments::Loss;
use super::inputs::Arrays;
use crate::Failure;
use crate::arrays::Opened;
use crate::filter::OrderName;

impl Loss {
    /// Puts what is by class into the order that is asked for.
    pub(super) fn order(&self, arrays: &mut Arrays) -> Result<Option<ClassOrder>, Failure> {
        let Some(name) = &self.class_order else { return Ok(None) };
        let missing = || Failure::Input("--hidden, --classifier and --targets are missing".into());
        let (Some(hidden), Some(classifier), Some(targets)) =
            (&arrays.hidden, &arrays.classifier, &arrays.targets)
        else {
            return Err(missing());
        };
        let classes = classifier.matrix()?.dim().0;
        let ignored = self.ignored_class();
        if usize::try_from(ignored).is_ok_and(|ignored| ignored < classes) {
            return Err(Failure::Input(format!(
                "--ignore-index {ignored} is a class, expected none of them beside --class-order"
            )));
        }
        let bias = arrays.bias.as_ref().map(Opened::vector).transpose()?;
        let order = match name {
            OrderName::MeanLogit => {
                ClassOrder::by_mean_logits(hidden.matrix()?, classifier.matrix()?, bias)?
            }
            OrderName::Similar => {
                ClassOrder::by_similarity(hidden.matrix()?, classifier.matrix()?, bias)?
            }
            OrderName::Counts => {
                let mut counts = vec![0; classes];
                let own = targets.iter().filter_map(|&class| usize::try_from(class).ok());
                own.for_each(|class| {
                    if let Some(count) = counts.get_mut(class) {
                        *count += 1;
                    }
                });
                ClassOrder::by_counts(&counts)
            }
            OrderName::File(file) => {
                let file = Opened::new("--class-order", file)?;
                let named = file.classes()?;
                if named.len() != classes {
                    let expected = format!("[{classes}], each class of the classifier once");
                    return Err(file.unfit(&expected));
                }
                // What is no u32 is no class either.
                let named: Vec<u32> =
                    named.iter().map(|&class| u32::try_from(class).unwrap_or(u32::MAX)).collect();
                ClassOrder::new(&named)?
            }
        };
        arrays.targets = Some(order.targets(targets)?);
        let rows: Vec<usize> = order.classes().iter().map(|&class| class as usize).collect();
        for array in [&mut arrays.classifier, &mut arrays.bias, &mut arrays.class_weights] {
            // One of another length is refused where it is used.
            if let Some(array) =
                array.as_mut().filter(|array| array.view().shape().first() == Some(&classes))
            {
                array.select(&rows)?;
            }
        }
        Ok(Some(order))
    }
}

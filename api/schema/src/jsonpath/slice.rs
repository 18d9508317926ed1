//! Places of a list: `[0]`, `[-1]`, `[1:3]`, `[::2]`.

use super::Found;
use super::evaluate::{Failure, Outcome, Run, children};
use super::nodes::{End, Slice};
use crate::go;

/// The items of each list that a slice names.
pub(super) fn slices<'a>(run: &mut Run<'_>, slice: &Slice, from: &[Found<'a>]) -> Outcome<'a> {
    let mut is_over = false;
    run.each(from.iter().filter(|value| !value.is_null()), |_, value| {
        if is_over {
            return Ok(Vec::new());
        }
        let found = of_list(slice, value)?;
        // Upstream ends with the first list that has nothing to give, also where another has.
        is_over = found.is_none();
        Ok(found.unwrap_or_default())
    })
}

/// The items of one list; none where nothing is asked for.
fn of_list<'a>(slice: &Slice, list: &Found<'a>) -> Result<Option<Vec<Found<'a>>>, Failure> {
    if !list.is_array() {
        return Err(Failure::left(format!("{} is not array or slice", go::type_of(list))));
    }
    let items = children(list);
    let Some((from, to)) = bounds(slice, items.len())? else { return Ok(None) };
    let step = usize::try_from(slice.step.unwrap_or(1)).ok().filter(|step| *step > 0);
    let step = step.ok_or_else(|| Failure::left("step must be > 0"))?;
    Ok(Some(items.into_iter().take(to).skip(from).step_by(step).collect()))
}

/// Where a slice of so many items begins and ends; none where it asks for nothing.
fn bounds(slice: &Slice, count: usize) -> Result<Option<(usize, usize)>, Failure> {
    let length = i64::try_from(count).unwrap_or(i64::MAX);
    let place = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    let start = place(slice.start.unwrap_or_default());
    let end = match slice.end {
        End::Open | End::After(-1) => length,
        End::At(at) => place(at),
        End::After(at) => place(at.saturating_add(1)),
    };
    let outside = |at: i64| Failure::left(format!("array index out of bounds: index {at}, length {length}"));
    if start == end {
        return Ok(None);
    }
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(from), _) if from >= count => Err(outside(start)),
        (Err(_), _) => Err(outside(start)),
        (_, Ok(to)) if to > count => Err(outside(end.saturating_sub(1))),
        (_, Err(_)) => Err(outside(end.saturating_sub(1))),
        (Ok(from), Ok(to)) if from > to => Err(Failure::left(format!("starting index {start} is greater than ending index {end}"))),
        (Ok(from), Ok(to)) => Ok(Some((from, to))),
    }
}

//! Places in one block of memory, shared by what is not needed at the same time.

/// A stretch of memory and the steps during which it is needed.
pub(in crate::native) struct Stretch {
    pub length: usize,
    pub first: usize,
    pub last: usize,
    pub place: usize,
}

/// Gives every stretch a place, a multiple of `alignment`, that no other needed at the same time has, largest first. Those of the results come last
/// and are not shared. Returns the length of the maps and the end of all.
pub(in crate::native) fn assign_places(
    stretches: &mut [Stretch],
    results: &[usize],
    alignment: usize,
) -> (usize, usize) {
    let mut order: Vec<usize> = (0..stretches.len()).filter(|i| !results.contains(i)).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(stretches[i].length), i));
    let mut placed: Vec<usize> = Vec::new();
    let mut maps = 0;
    for at in order {
        let Stretch { length, first, last, .. } = stretches[at];
        let length = length.next_multiple_of(alignment);
        let mut place = 0;
        // `placed` is sorted by place, so the first gap is the lowest.
        for &other in &placed {
            let other = &stretches[other];
            if other.first <= last && first <= other.last {
                if place + length <= other.place {
                    break;
                }
                place = place.max(other.place + other.length.next_multiple_of(alignment));
            }
        }
        stretches[at].place = place;
        maps = maps.max(place + length);
        let position = placed.partition_point(|&other| stretches[other].place <= place);
        placed.insert(position, at);
    }
    let mut end = maps;
    for (i, &result) in results.iter().enumerate() {
        if !results[..i].contains(&result) {
            stretches[result].place = end;
            end += stretches[result].length.next_multiple_of(alignment);
        }
    }
    (maps, end)
}

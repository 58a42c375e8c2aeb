//! Single numbers of a map, which losses name by their places.

use burn::tensor::{IndexingUpdateOp, Int, Tensor};
use effdet_nn::native;

/// The order that places of a map `[batch, channels, height, width]` are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaceOrder {
    /// Batch, channels, height, width.
    ChannelsFirst,
    /// Batch, height, width, channels: how the kernels for devices have maps in memory.
    ChannelsLast,
}

impl PlaceOrder {
    /// The order to use for this map.
    pub(crate) fn of(map: &Tensor<4>) -> Self {
        if native::has_places(map) { Self::ChannelsLast } else { Self::ChannelsFirst }
    }

    /// The place of a channel of a cell of a picture.
    pub(crate) fn place(
        self,
        [channels, cells]: [usize; 2],
        picture: usize,
        channel: usize,
        cell: usize,
    ) -> i64 {
        let place = match self {
            Self::ChannelsFirst => (picture * channels + channel) * cells + cell,
            Self::ChannelsLast => (picture * cells + cell) * channels + channel,
        };
        place as i64
    }

    /// The numbers at `places`, all different, `[count]`.
    pub(crate) fn take(self, map: &Tensor<4>, places: &Tensor<1, Int>) -> Tensor<1> {
        if self == Self::ChannelsLast
            && let Some(values) = native::numbers_at(map, places)
        {
            return values;
        }
        self.flat(map).select(0, places.clone())
    }

    /// The map with `values` added at `places`, all different.
    pub(crate) fn add(self, map: Tensor<4>, places: &Tensor<1, Int>, values: Tensor<1>) -> Tensor<4> {
        if self == Self::ChannelsLast
            && let Some(map) = native::added_at(&map, places, &values)
        {
            return map;
        }
        let [batch, channels, height, width] = map.dims();
        let added = self.flat(&map).select_assign(0, places.clone(), values, IndexingUpdateOp::Add);
        match self {
            Self::ChannelsFirst => added.reshape([batch, channels, height, width]),
            Self::ChannelsLast => added.reshape([batch, height, width, channels]).permute([0, 3, 1, 2]),
        }
    }

    fn flat(self, map: &Tensor<4>) -> Tensor<1> {
        let length = map.dims().iter().product::<usize>();
        match self {
            Self::ChannelsFirst => map.clone().reshape([length]),
            Self::ChannelsLast => map.clone().permute([0, 2, 3, 1]).reshape([length]),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn both_orders_name_the_same_numbers() {
        let device = Device::flex();
        let map = Tensor::<1, Int>::arange(0..48, &device).float().reshape([2, 4, 2, 3]);
        for order in [PlaceOrder::ChannelsFirst, PlaceOrder::ChannelsLast] {
            let wanted = [(0, 0, 0), (1, 3, 5), (0, 2, 4)];
            let places = wanted.map(|(picture, channel, cell)| order.place([4, 6], picture, channel, cell));
            let places = Tensor::<1, Int>::from_data(places, &device);
            let found = order.take(&map, &places);
            assert_eq!(found.clone().into_data().try_to_vec::<f32>().unwrap(), [0.0, 47.0, 16.0]);
            let doubled = order.add(map.clone(), &places, found);
            assert_eq!(
                order.take(&doubled, &places).into_data().try_to_vec::<f32>().unwrap(),
                [0.0, 94.0, 32.0]
            );
            assert_eq!((doubled - map.clone()).sum().into_scalar::<f32>(), 63.0);
        }
    }
}

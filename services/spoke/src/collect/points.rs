//! Where collectors put what they read.

use std::sync::Arc;

use agent::clock::Millis;
use agent::post::{DataType, Datapoint, Number, Pair, Series, fitting};

use crate::reason::{AllLeftOut, LeftOut};

/// The datapoints of a round; those of one collector were all read at the same time.
#[derive(Debug)]
pub(super) struct Points {
    pub(super) timestamp_ms: Millis,
    pub(super) datapoints: Vec<Datapoint>,
    /// Instances of one collector that are left out.
    pub(super) left_out: AllLeftOut,
}

/// Which one of several a value belongs to: a partition, a disk, an interface.
#[derive(Clone, Debug, Default)]
pub(super) struct Instance {
    leading: Arc<[Pair]>,
    trailing: Arc<[Pair]>,
}

impl Instance {
    /// An instance whose metadata stands before the host's.
    pub(super) fn leading<const N: usize>(pairs: [Pair; N]) -> Self {
        Self { leading: pairs.map(|(key, value)| (key, fitting(value))).into(), ..Self::default() }
    }

    /// An instance whose metadata stands behind the host's.
    pub(super) fn trailing(key: &'static str, value: String) -> Self {
        Self { trailing: [(key, fitting(value))].into(), ..Self::default() }
    }
}

impl Points {
    /// With room for that many.
    pub(super) fn with_room(datapoints: usize) -> Self {
        Self { timestamp_ms: 0, datapoints: Vec::with_capacity(datapoints), left_out: AllLeftOut::new() }
    }

    /// A value of the host as a whole.
    pub(super) fn host(&mut self, key: &'static str, data_type: DataType, value: impl Into<Number>) {
        self.of(&Instance::default(), key, data_type, value);
    }

    /// A value of one instance.
    pub(super) fn of(
        &mut self,
        instance: &Instance,
        key: &'static str,
        data_type: DataType,
        value: impl Into<Number>,
    ) {
        let Instance { leading, trailing } = instance.clone();
        self.datapoints.push(Datapoint {
            series: Series { key, data_type, leading, trailing },
            value: value.into(),
            timestamp_ms: self.timestamp_ms,
        });
    }

    /// Notes an instance that cannot be read.
    pub(super) fn leave_out(&mut self, what: String, left_out: LeftOut) {
        self.left_out.insert(what, left_out);
    }
}

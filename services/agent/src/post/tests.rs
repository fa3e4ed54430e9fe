use proptest::prelude::*;

use super::*;

/// The sender of the contract's worked example.
fn captured() -> Sender {
    Sender {
        agent_id: "4e4021a8230f7961f2840b2b7c79f1cac44da2421a1bb6a8c1fc0a6ebd7bd3ca".into(),
        program: "pattoo_agent_os_spoked",
        hostname: "localhost".into(),
        polled_target: "localhost".into(),
        host: vec![
            ("release", "6.18.44".into()),
            ("version", "#1".into()),
            ("processor", String::new()),
            ("type", "Linux".into()),
            ("cpus", "2".into()),
            ("hostname", "localhost".into()),
        ],
    }
}

fn point(key: &'static str, data_type: DataType, value: Number) -> Datapoint {
    Datapoint { series: Series::of_host(key, data_type), value, timestamp_ms: 7 }
}

fn parsed(datapoints: &[Datapoint]) -> serde_json::Value {
    let body = Writer::new(captured()).write(300, 8, datapoints).unwrap();
    assert_eq!(body.last(), Some(&b'\n'));
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn the_worked_example_comes_out() {
    let post = parsed(&[point("cpu_times_percent_user", DataType::Float, Number::Float(53.0))]);
    let pairs = &post["pattoo_datapoints"]["key_value_pairs"];
    assert_eq!(pairs["15"][1], "445f83b058f39d1d3d42dd91f391969d22a2c948deccf40f16c1b13ab05b5677");
    assert_eq!(pairs["6"], serde_json::json!(["pattoo_agent_polling_interval", "300000"]));
}

#[test]
fn an_empty_post_has_its_form_to_the_byte() {
    let body = Writer::new(captured()).write(0, 8, &[]).unwrap();
    let id = captured().agent_id;
    assert_eq!(
        String::from_utf8(body).unwrap(),
        format!(
            r#"{{"pattoo_agent_id":"{id}","pattoo_agent_polling_interval":0,"pattoo_agent_timestamp":8,"pattoo_datapoints":{{"datapoint_pairs":[],"key_value_pairs":{{}}}}}}"#
        ) + "\n"
    );
}

#[test]
fn equal_numbers_share_an_id_whatever_they_are_written_as() {
    let post = parsed(&[
        point("a", DataType::Counter, Number::Int(0)),
        point("b", DataType::Counter, Number::Float(0.0)),
        point("c", DataType::Counter, Number::Float(0.5)),
        point("d", DataType::Counter, Number::Float(1e300)),
    ]);
    let rows = post["pattoo_datapoints"]["datapoint_pairs"].as_array().unwrap();
    assert_eq!(rows[0][13], rows[1][13]);
    assert_ne!(rows[0][13], rows[2][13]);
    assert_eq!(rows.len(), 4);
}

#[test]
fn what_is_not_finite_and_what_is_there_already_are_left_out() {
    let post = parsed(&[
        point("a", DataType::Float, Number::Float(f64::NAN)),
        point("b", DataType::Float, Number::Float(f64::INFINITY)),
        point("c", DataType::Gauge, Number::Int(1)),
        point("c", DataType::Gauge, Number::Int(2)),
    ]);
    let pairs = post["pattoo_datapoints"]["key_value_pairs"].as_object().unwrap();
    assert_eq!(post["pattoo_datapoints"]["datapoint_pairs"].as_array().unwrap().len(), 1);
    assert!(pairs.values().any(|pair| *pair == serde_json::json!(["pattoo_value", 1])));
}

#[test]
fn metadata_of_the_instance_stands_where_the_contract_wants_it() {
    let series = Series {
        key: "k",
        data_type: DataType::Gauge,
        leading: [("before", " \x1fx\u{a0} ".to_owned())].into(),
        trailing: [("behind", "y".to_owned())].into(),
    };
    let post = parsed(&[Datapoint { series, value: Number::Int(1), timestamp_ms: 7 }]);
    let pairs = &post["pattoo_datapoints"]["key_value_pairs"];
    assert_eq!(pairs["0"], serde_json::json!(["before", "x"]));
    assert_eq!(pairs["6"], serde_json::json!(["hostname", "localhost"]));
    assert_eq!(pairs["7"], serde_json::json!(["behind", "y"]));
}

#[test]
fn memory_of_checksums_follows_what_is_there() {
    let mut writer = Writer::new(captured());
    for round in 0..1000_u32 {
        let series = Series {
            trailing: [("network_io_interface", format!("veth{round}"))].into(),
            ..Series::of_host("k", DataType::Gauge)
        };
        writer.write(300, 8, &[Datapoint { series, value: Number::Int(1), timestamp_ms: 7 }]).unwrap();
    }
    assert!(writer.checksums.len() < 100);
}

/// Datapoints among which series, values and times repeat, in any order; some values cannot be sent.
fn some_datapoints() -> impl Strategy<Value = Vec<Datapoint>> {
    let value = prop_oneof![
        (0_u64..3).prop_map(Number::Int),
        prop::sample::select(vec![0.0, 1.0, 0.5, f64::NAN, f64::INFINITY]).prop_map(Number::Float),
    ];
    let instance = prop::sample::select(vec!["", "eth0", " eth0 ", "b\u{e4}h\"0\\", "a\u{1}"]);
    let key = prop::sample::select(vec!["a", "b"]);
    let one = (key, any::<bool>(), instance.clone(), instance, value, 0_u64..3).prop_map(
        |(key, counts, before, behind, value, timestamp_ms)| {
            let pairs = |name: &'static str, text: &str| -> std::sync::Arc<[Pair]> {
                if text.is_empty() { [].into() } else { [(name, text.to_owned())].into() }
            };
            let data_type = if counts { DataType::Counter } else { DataType::Gauge };
            let (leading, trailing) = (pairs("before", before), pairs("behind", behind));
            Datapoint { series: Series { key, data_type, leading, trailing }, value, timestamp_ms }
        },
    );
    prop::collection::vec(one, 0..12)
}

proptest! {
    #[test]
    fn a_kept_writer_writes_what_a_new_one_writes(
        posts in prop::collection::vec((some_datapoints(), 0_u64..3, any::<bool>()), 1..6)
    ) {
        let mut kept = Writer::new(captured());
        for (mut datapoints, interval_s, renamed) in posts {
            let mut sender = captured();
            if renamed {
                sender.hostname = "renamed".to_owned();
            }
            kept.set_sender(sender.clone());
            // Again with other values and times, so that it is written by what the post before it left.
            for _ in 0..3 {
                let body = kept.write(interval_s, 8, &datapoints).unwrap();
                prop_assert_eq!(&body, &Writer::new(sender.clone()).write(interval_s, 8, &datapoints).unwrap());
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
                let measured: Vec<_> = datapoints.iter().map(|point| (point.value, point.timestamp_ms)).collect();
                let others = measured.iter().skip(1).chain(&measured);
                for (point, (value, timestamp_ms)) in datapoints.iter_mut().zip(others) {
                    (point.value, point.timestamp_ms) = (*value, *timestamp_ms);
                }
            }
        }
    }
}

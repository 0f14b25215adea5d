//! Writes small ONNX files: just enough of the protobuf encoding for the graphs of these tests.

/// Element types by their numbers in the format.
pub(crate) const FLOAT: u64 = 1;
pub(crate) const INT64: u64 = 7;
pub(crate) const STRING: u64 = 8;
pub(crate) const BOOL: u64 = 9;
pub(crate) const COMPLEX64: u64 = 14;

/// The domain of the operators of classical machine learning.
const LEARNED: &str = "ai.onnx.ml";

/// A number as the encoding writes it, seven bits a byte.
pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field that is a number.
pub(crate) fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field that is bytes, a text or a message.
pub(crate) fn bytes(field: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

/// A dimension: a number, or a name for a variable one.
pub(crate) enum Dimension {
    Fixed(u64),
    Named(&'static str),
}

fn tensor_type(element: u64, shape: &[Dimension]) -> Vec<u8> {
    let dimension = |dimension: &Dimension| match dimension {
        Dimension::Fixed(size) => bytes(1, number(1, *size)),
        Dimension::Named(name) => bytes(1, bytes(2, name)),
    };
    let shape: Vec<u8> = shape.iter().flat_map(dimension).collect();
    bytes(1, [number(1, element), bytes(2, shape)].concat())
}

/// A named input or output of a graph.
pub(crate) fn value(name: &str, element: u64, shape: &[Dimension]) -> Vec<u8> {
    [bytes(1, name), bytes(2, tensor_type(element, shape))].concat()
}

/// A named input or output of which nothing but the type is said.
pub(crate) fn shapeless(name: &str, element: u64) -> Vec<u8> {
    [bytes(1, name), bytes(2, bytes(1, number(1, element)))].concat()
}

/// An output that is a sequence of tensors.
pub(crate) fn sequence(name: &str, element: u64) -> Vec<u8> {
    [bytes(1, name), bytes(2, bytes(4, bytes(1, tensor_type(element, &[]))))].concat()
}

/// An operator with attributes already encoded.
pub(crate) fn node(operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut node: Vec<u8> = inputs.iter().flat_map(|input| bytes(1, input)).collect();
    node.extend(outputs.iter().flat_map(|output| bytes(2, output)));
    node.extend(bytes(4, operator));
    node.extend(attributes.iter().flat_map(|attribute| bytes(5, attribute)));
    node
}

pub(crate) fn number_attribute(name: &str, value: u64) -> Vec<u8> {
    [bytes(1, name), number(3, value), number(20, 2)].concat()
}

/// A node of the operators of classical machine learning, which have a domain of their own.
pub(crate) fn learned(operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    [node(operator, inputs, outputs, attributes), bytes(7, LEARNED)].concat()
}

pub(crate) fn text_attribute(name: &str, value: &str) -> Vec<u8> {
    [bytes(1, name), bytes(4, value), number(20, 3)].concat()
}

pub(crate) fn texts_attribute(name: &str, values: &[&str]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| bytes(9, value)).collect();
    [bytes(1, name), values, number(20, 8)].concat()
}

pub(crate) fn floats_attribute(name: &str, values: &[f32]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [bytes(1, name), bytes(7, values), number(20, 6)].concat()
}

pub(crate) fn float_attribute(name: &str, value: f32) -> Vec<u8> {
    let encoded = [varint(2 << 3 | 5), value.to_le_bytes().to_vec()].concat();
    [bytes(1, name), encoded, number(20, 1)].concat()
}

pub(crate) fn graph_attribute(name: &str, graph: &[u8]) -> Vec<u8> {
    [bytes(1, name), bytes(6, graph), number(20, 5)].concat()
}

/// A constant scalar of raw bytes.
pub(crate) fn scalar(name: &str, element: u64, raw: &[u8]) -> Vec<u8> {
    [number(2, element), bytes(8, name), bytes(9, raw)].concat()
}

/// A constant of raw bytes, of these dimensions.
pub(crate) fn constant(name: &str, element: u64, shape: &[u64], raw: &[u8]) -> Vec<u8> {
    let mut constant: Vec<u8> = shape.iter().flat_map(|size| number(1, *size)).collect();
    constant.extend([number(2, element), bytes(8, name), bytes(9, raw)].concat());
    constant
}

/// A constant vector of floats that lie in another file.
pub(crate) fn external(name: &str, length: u64, location: &str) -> Vec<u8> {
    let entry = [bytes(1, "location"), bytes(2, location)].concat();
    [number(1, length), number(2, FLOAT), bytes(8, name), bytes(13, entry), number(14, 1)].concat()
}

pub(crate) fn graph(
    nodes: &[Vec<u8>],
    constants: &[Vec<u8>],
    inputs: &[Vec<u8>],
    outputs: &[Vec<u8>],
) -> Vec<u8> {
    let each =
        |field, parts: &[Vec<u8>]| parts.iter().flat_map(|part| bytes(field, part)).collect::<Vec<u8>>();
    [each(1, nodes), bytes(2, "graph"), each(5, constants), each(11, inputs), each(12, outputs)].concat()
}

pub(crate) fn model(graph: &[u8]) -> Vec<u8> {
    let learned = bytes(8, [bytes(1, LEARNED), number(2, 3)].concat());
    [number(1, 8), bytes(8, number(2, 17)), learned, bytes(7, graph)].concat()
}

/// The sum `y` of a table that has a row for each element of `a` and a column for each of `b`.
pub(crate) fn broadcast() -> Vec<u8> {
    let nodes = [
        node("Mul", &["a", "b"], &["table"], &[]),
        node("ReduceSum", &["table"], &["y"], &[number_attribute("keepdims", 0)]),
    ];
    let a = value("a", FLOAT, &[Dimension::Named("rows"), Dimension::Fixed(1)]);
    let b = value("b", FLOAT, &[Dimension::Fixed(1), Dimension::Named("columns")]);
    model(&graph(&nodes, &[], &[a, b], &[value("y", FLOAT, &[])]))
}

/// `y = x` for one element type, of shape `[n, 2]`.
pub(crate) fn identity(element: u64) -> Vec<u8> {
    identity_of(element, &[Dimension::Named("n"), Dimension::Fixed(2)])
}

/// `y = x` for one element type and shape.
pub(crate) fn identity_of(element: u64, shape: &[Dimension]) -> Vec<u8> {
    let (input, output) = (value("x", element, shape), value("y", element, shape));
    model(&graph(&[node("Identity", &["x"], &["y"], &[])], &[], &[input], &[output]))
}

/// `sum = a + b` and `product = a × b`, all of shape `[n]`, where `b`'s dimension may have another name.
pub(crate) fn arithmetic(other: &'static str) -> Vec<u8> {
    let vector = |name, dimension| value(name, FLOAT, &[Dimension::Named(dimension)]);
    let nodes = [node("Add", &["a", "b"], &["sum"], &[]), node("Mul", &["a", "b"], &["product"], &[])];
    let inputs = [vector("a", "n"), vector("b", other)];
    model(&graph(&nodes, &[], &inputs, &[vector("sum", "n"), vector("product", "n")]))
}

/// `y = x + one`, where `one` is an input, too, as old exporters write it: the runtime warns of it.
pub(crate) fn constant_input() -> Vec<u8> {
    let vector = |name| value(name, FLOAT, &[Dimension::Fixed(1)]);
    let one = constant("one", FLOAT, &[1], &1_f32.to_le_bytes());
    let add = node("Add", &["x", "one"], &["y"], &[]);
    model(&graph(&[add], &[one], &[vector("x"), vector("one")], &[vector("y")]))
}

/// `probabilities = softmax(x)` over `[batch, classes]`.
pub(crate) fn softmax(batch: Dimension, classes: u64) -> Vec<u8> {
    let input = value("x", FLOAT, &[batch, Dimension::Fixed(classes)]);
    let output = value("probabilities", FLOAT, &[Dimension::Named("n"), Dimension::Fixed(classes)]);
    model(&graph(&[node("Softmax", &["x"], &["probabilities"], &[])], &[], &[input], &[output]))
}

/// Runs for ever, unless it is interrupted.
pub(crate) fn endless() -> Vec<u8> {
    let body = graph(
        &[node("Identity", &["more"], &["again"], &[]), node("Identity", &["state"], &["next"], &[])],
        &[],
        &[value("turn", INT64, &[]), value("more", BOOL, &[]), value("state", FLOAT, &[])],
        &[value("again", BOOL, &[]), value("next", FLOAT, &[])],
    );
    let repeat = node("Loop", &["", "yes", "x"], &["y"], &[graph_attribute("body", &body)]);
    let (input, output) = (value("x", FLOAT, &[]), value("y", FLOAT, &[]));
    model(&graph(&[repeat], &[scalar("yes", BOOL, &[1])], &[input], &[output]))
}

/// `y = x · weights` for `x` of shape `[n, rows of the weights]`.
pub(crate) fn linear(rows: u64, columns: u64, weights: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    let weights = constant("weights", FLOAT, &[rows, columns], &raw);
    let input = value("x", FLOAT, &[Dimension::Named("n"), Dimension::Fixed(rows)]);
    let output = value("y", FLOAT, &[Dimension::Named("n"), Dimension::Fixed(columns)]);
    model(&graph(&[node("MatMul", &["x", "weights"], &["y"], &[])], &[weights], &[input], &[output]))
}

/// `y = table[x]` for numbers `x` of shape `[n]`; fails where one lies outside of the table.
pub(crate) fn lookup(table: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    let table = constant("table", FLOAT, &[table.len() as u64], &raw);
    let vector = |name, element| value(name, element, &[Dimension::Named("n")]);
    let gather = node("Gather", &["table", "x"], &["y"], &[]);
    model(&graph(&[gather], &[table], &[vector("x", INT64)], &[vector("y", FLOAT)]))
}

/// `y = table[x]` for numbers `x` of shape `[n]`: texts, or what takes their place.
pub(crate) fn lookup_texts(table: &[&[u8]]) -> Vec<u8> {
    let texts: Vec<u8> = table.iter().flat_map(|text| bytes(6, text)).collect();
    let table = [number(1, table.len() as u64), number(2, STRING), bytes(8, "table"), texts].concat();
    let vector = |name, element| value(name, element, &[Dimension::Named("n")]);
    let gather = node("Gather", &["table", "x"], &["y"], &[]);
    model(&graph(&[gather], &[table], &[vector("x", INT64)], &[vector("y", STRING)]))
}

/// `y`, of shape `[m]`, is what there is in `x`, of shape `[n]`, each number once.
pub(crate) fn distinct() -> Vec<u8> {
    let vector = |name, dimension| value(name, FLOAT, &[Dimension::Named(dimension)]);
    let unique = node("Unique", &["x"], &["y"], &[]);
    model(&graph(&[unique], &[], &[vector("x", "n")], &[vector("y", "m")]))
}

/// `y`, of shape `[found, 1]`, are the places of the numbers in `x`, of shape `[sent]`, that are below 1.5 or, `above`,
/// are not. `sent` and `found` name these dimensions.
pub(crate) fn places(above: bool, sent: &'static str, found: &'static str) -> Vec<u8> {
    let threshold = scalar("threshold", FLOAT, &1.5_f32.to_le_bytes());
    let compare = if above { "GreaterOrEqual" } else { "Less" };
    let nodes = [
        node(compare, &["x", "threshold"], &["is"], &[]),
        node("NonZero", &["is"], &["flat"], &[]),
        node("Transpose", &["flat"], &["y"], &[]),
    ];
    let x = value("x", FLOAT, &[Dimension::Named(sent)]);
    let y = value("y", INT64, &[Dimension::Named(found), Dimension::Fixed(1)]);
    model(&graph(&nodes, &[threshold], &[x], &[y]))
}

/// `y = x · xᵀ`: each row with every other. `x` has the shape `[sent, 2]`, `y` `[answered, other]`.
pub(crate) fn products(sent: &'static str, answered: &'static str, other: &'static str) -> Vec<u8> {
    let nodes = [node("Transpose", &["x"], &["t"], &[]), node("MatMul", &["x", "t"], &["y"], &[])];
    let x = value("x", FLOAT, &[Dimension::Named(sent), Dimension::Fixed(2)]);
    let y = value("y", FLOAT, &[Dimension::Named(answered), Dimension::Named(other)]);
    model(&graph(&nodes, &[], &[x], &[y]))
}

/// `y` is the softmax of `x`, `[n, 2]`, over its rows.
pub(crate) fn over_rows() -> Vec<u8> {
    let softmax = node("Softmax", &["x"], &["y"], &[number_attribute("axis", 0)]);
    let matrix = |name| value(name, FLOAT, &[Dimension::Named("n"), Dimension::Fixed(2)]);
    model(&graph(&[softmax], &[], &[matrix("x")], &[matrix("y")]))
}

/// Each row of `y` is that of `x`, `[n, 2]`, and all before it.
pub(crate) fn sums_over_rows() -> Vec<u8> {
    let sum = node("CumSum", &["x", "axis"], &["y"], &[]);
    let matrix = |name| value(name, FLOAT, &[Dimension::Named("n"), Dimension::Fixed(2)]);
    let axis = scalar("axis", INT64, &0_i64.to_le_bytes());
    model(&graph(&[sum], &[axis], &[matrix("x")], &[matrix("y")]))
}

/// `y` are the places of the positive elements of `x · w`, where `x`, `[n, m]`, has to have four columns, of which the first
/// counts, twice.
pub(crate) fn places_of_four() -> Vec<u8> {
    let weights: Vec<u8> =
        [1.0_f32, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0].iter().flat_map(|w| w.to_le_bytes()).collect();
    let constants = [constant("w", FLOAT, &[4, 2], &weights), scalar("zero", FLOAT, &0.0_f32.to_le_bytes())];
    let nodes = [
        node("MatMul", &["x", "w"], &["product"], &[]),
        node("Greater", &["product", "zero"], &["is"], &[]),
        node("NonZero", &["is"], &["flat"], &[]),
        node("Transpose", &["flat"], &["y"], &[]),
    ];
    let x = value("x", FLOAT, &[Dimension::Named("n"), Dimension::Named("m")]);
    let y = value("y", INT64, &[Dimension::Named("n"), Dimension::Fixed(2)]);
    model(&graph(&nodes, &constants, &[x], &[y]))
}

/// `y = x · w`, where `x`, `[n, m]`, has to have four columns.
pub(crate) fn products_with_four() -> Vec<u8> {
    let weights: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|w| w.to_le_bytes()).collect();
    let constants = [constant("w", FLOAT, &[4, 1], &weights)];
    let x = value("x", FLOAT, &[Dimension::Named("n"), Dimension::Named("m")]);
    let y = value("y", FLOAT, &[Dimension::Named("n"), Dimension::Fixed(1)]);
    model(&graph(&[node("MatMul", &["x", "w"], &["y"], &[])], &constants, &[x], &[y]))
}

/// `done = turns`, of shape `[n]`, after as many turns as the largest of them.
pub(crate) fn patient() -> Vec<u8> {
    let body = graph(
        &[node("Identity", &["more"], &["again"], &[]), node("Identity", &["state"], &["next"], &[])],
        &[],
        &[
            value("turn", INT64, &[]),
            value("more", BOOL, &[]),
            value("state", INT64, &[Dimension::Named("n")]),
        ],
        &[value("again", BOOL, &[]), value("next", INT64, &[Dimension::Named("n")])],
    );
    let most = node("ReduceMax", &["turns"], &["most"], &[number_attribute("keepdims", 0)]);
    let repeat = node("Loop", &["most", "yes", "turns"], &["done"], &[graph_attribute("body", &body)]);
    let vector = |name| value(name, INT64, &[Dimension::Named("n")]);
    let constants = [scalar("yes", BOOL, &[1])];
    model(&graph(&[most, repeat], &constants, &[vector("turns")], &[vector("done")]))
}

/// As scikit-learn's pipelines are exported: the inputs `age` of numbers and `city` of texts, each `[n, 1]`; the
/// outputs `label` and, of shape `[n, 2]`, `probabilities`. The city counts as `Ulm` 1, `Bonn` 2, any other 0, and
/// the score of the second class is age / 10 - city.
pub(crate) fn pipeline() -> Vec<u8> {
    let column = || [Dimension::Named("n"), Dimension::Fixed(1)];
    let cities = [
        texts_attribute("keys_strings", &["Ulm", "Bonn"]),
        floats_attribute("values_floats", &[1.0, 2.0]),
        float_attribute("default_float", 0.0),
    ];
    let classes = [
        floats_attribute("coefficients", &[0.0, 0.0, 0.1, -1.0]),
        floats_attribute("intercepts", &[0.0, 0.0]),
        texts_attribute("classlabels_strings", &["stays", "leaves"]),
        text_attribute("post_transform", "SOFTMAX"),
    ];
    let nodes = [
        learned("LabelEncoder", &["city"], &["number"], &cities),
        node("Concat", &["age", "number"], &["row"], &[number_attribute("axis", 1)]),
        learned("LinearClassifier", &["row"], &["label", "probabilities"], &classes),
    ];
    let inputs = [value("age", FLOAT, &column()), value("city", STRING, &column())];
    let outputs = [
        value("label", STRING, &[Dimension::Named("n")]),
        value("probabilities", FLOAT, &[Dimension::Named("n"), Dimension::Fixed(2)]),
    ];
    model(&graph(&nodes, &[], &inputs, &outputs))
}

/// `probability`, of shape `[n, classes]`, as scikit-learn's converter gives it: for each row a map from the class,
/// which is a number from 10 on or a text, to the number in `x`.
pub(crate) fn zip_map<Class: AsRef<[u8]>>(classes: &[Class], texts: bool) -> Vec<u8> {
    let labels: Vec<u8> = match texts {
        true => classes.iter().flat_map(|class| bytes(9, class)).collect(),
        false => (10..).take(classes.len()).flat_map(|class| number(8, class)).collect(),
    };
    let (name, kind) = if texts { ("classlabels_strings", 8) } else { ("classlabels_int64s", 7) };
    let labels = [bytes(1, name), labels, number(20, kind)].concat();
    let zip = [node("ZipMap", &["x"], &["probability"], &[labels]), bytes(7, "ai.onnx.ml")].concat();
    let map = [number(1, if texts { STRING } else { INT64 }), bytes(2, tensor_type(FLOAT, &[]))].concat();
    let output = [bytes(1, "probability"), bytes(2, bytes(4, bytes(1, bytes(5, map))))].concat();
    let input = value("x", FLOAT, &[Dimension::Named("n"), Dimension::Fixed(classes.len() as u64)]);
    model(&graph(&[zip], &[], &[input], &[output]))
}

/// `parts` is the sequence of the parts, of `size` rows, of `x`, whose shape is `[n, 2]`.
pub(crate) fn parts(size: i64) -> Vec<u8> {
    let split = node("SplitToSequence", &["x", "size"], &["parts"], &[]);
    let input = value("x", FLOAT, &[Dimension::Named("n"), Dimension::Fixed(2)]);
    let size = scalar("size", INT64, &size.to_le_bytes());
    model(&graph(&[split], &[size], &[input], &[sequence("parts", FLOAT)]))
}

/// Takes a sequence, which cannot be sent.
pub(crate) fn of_sequence() -> Vec<u8> {
    let length = node("SequenceLength", &["list"], &["length"], &[]);
    model(&graph(&[length], &[], &[sequence("list", FLOAT)], &[value("length", INT64, &[])]))
}

/// For each text of `x`, `[n, 1]`, as many equal numbers `y` as there are classes.
pub(crate) fn equal_classes(classes: u64) -> Vec<u8> {
    let known = [
        texts_attribute("keys_strings", &["one"]),
        floats_attribute("values_floats", &[1.0]),
        float_attribute("default_float", 1.0),
    ];
    let ones: Vec<u8> = (0..classes).flat_map(|_| 1.0_f32.to_le_bytes()).collect();
    let nodes =
        [learned("LabelEncoder", &["x"], &["number"], &known), node("Mul", &["number", "ones"], &["y"], &[])];
    let shape = |width| [Dimension::Named("n"), Dimension::Fixed(width)];
    let constants = [constant("ones", FLOAT, &[1, classes], &ones)];
    model(&graph(&nodes, &constants, &[value("x", STRING, &shape(1))], &[value("y", FLOAT, &shape(classes))]))
}

// What a dispatch is about. The Rust side is `Params` in src/gpu/shader.rs.
struct Params {
    // Rows of this dispatch, and the first of them in `rows`.
    rows: u32,
    first_row: u32,
    // The row of the hidden states that the binding begins with.
    hidden_origin: u32,
    // D.
    width: u32,
    // Columns of the classifier's binding, and the class of the first.
    columns: u32,
    first_class: u32,
    // Columns that one partial state covers; how many there are of a row, and the first here.
    span: u32,
    spans: u32,
    first_span: u32,
    // The first of the binding's columns that this dispatch takes.
    first_column: u32,
    // Numbers from one row of G to the next.
    stride: u32,
    // Of whatever the kernel lists.
    count: u32,
    scale: f32,
    softcap: f32,
    // Probabilities below do not count; or what the second head is weighed with in a mixture.
    threshold: f32,
    // Of the kernel's own.
    extra: u32,
}

//#if IMMEDIATES
var<immediate> P: Params;
//#else
@group(1) @binding(0) var<uniform> P: Params;
//#end

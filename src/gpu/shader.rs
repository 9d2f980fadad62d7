//! Which kernels there are, and their WGSL.

use super::template::{Values, render};
use crate::matrix::Matrix;
use crate::softmax::divergence::{Form, Of};

/// How the numbers of a matrix are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Format {
    F32,
    Bf16,
    F16,
}

impl Format {
    #[cfg(test)]
    const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// `None` for f64, which WGSL does not have.
    pub(super) fn of(matrix: &Matrix<'_>) -> Option<Self> {
        match matrix {
            Matrix::F32(_) => Some(Self::F32),
            Matrix::Bf16(_) => Some(Self::Bf16),
            Matrix::F16(_) => Some(Self::F16),
            Matrix::F64(_) => None,
        }
    }

    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::Bf16 => "BF16",
            Self::F16 => "F16",
        }
    }
}

/// Rows and columns that a workgroup of 16 × 16 threads computes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tile {
    pub(super) rows: u32,
    pub(super) columns: u32,
}

impl Tile {
    /// From the smallest to the largest. All but the last fit into 16 KiB.
    pub(super) const ALL: [Self; 3] = [
        Self { rows: 64, columns: 64 },
        Self { rows: 128, columns: 64 },
        Self { rows: 128, columns: 128 },
    ];

    /// Bytes of workgroup memory: both factors, or three vectors of each thread.
    pub(super) fn workgroup_bytes(self) -> u32 {
        self.shared() * 16
    }

    fn shared(self) -> u32 {
        ((self.rows + self.columns) * 5).max(256 * 3)
    }
}

/// What a class is weighed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Weighing {
    /// Nothing.
    None,
    /// 1.
    Uniform,
    /// A number of its own.
    Classes,
    /// Of each row a number of its own.
    Dense,
}

/// What stands beside a logit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Beside {
    /// Nothing.
    Nothing,
    /// A number of its class.
    Classes,
    /// A number of its own.
    Entries,
    /// The logit itself, which is no product.
    Given,
    /// That of a second head, which the fold does not look at.
    Second(Divergences),
    /// Whether it is a candidate's: the fold leaves those out, and the others have a derivative of their own.
    Others,
}

impl Beside {
    /// Whether it is a number whose mean is taken.
    pub(super) fn is_companion(self) -> bool {
        matches!(self, Self::Classes | Self::Entries)
    }
}

/// Which divergences from a second head there are: each at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Divergences {
    /// Those of Kullback and Leibler.
    pub(super) forward: bool,
    pub(super) reverse: bool,
    /// That from a mixture of both heads, told from one of them or from both.
    pub(super) mixture: Option<Of>,
    pub(super) variation: bool,
}

impl Divergences {
    fn each(self) -> [bool; 4] {
        [self.forward, self.reverse, self.mixture.is_some(), self.variation]
    }

    /// Words of all of them, of a row and a block of columns.
    pub(super) fn words(self) -> usize {
        2 * self.each().iter().filter(|&&there| there).count()
    }

    /// The first word of one of them: those are in the order of the fields.
    fn place(self, at: usize) -> usize {
        2 * self.each()[..at].iter().filter(|&&there| there).count()
    }

    /// Where a divergence of this form has its words, and its place among all four.
    pub(super) fn of(self, form: &Form<f32>) -> Option<(usize, usize)> {
        let at = match form {
            Form::Nothing => return None,
            Form::KullbackLeibler { reverse } => usize::from(*reverse),
            Form::Mixture { .. } => 2,
            Form::TotalVariation => 3,
        };
        Some((self.place(at), at))
    }

    /// Whether the derivatives read a third vector of each row for them.
    pub(super) fn more(self) -> bool {
        self.mixture.is_some() || self.variation
    }
}

// The products of the spectra are dispatched where there are spectra.
#[cfg_attr(not(feature = "spectral"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Forward { entropy: bool, varentropy: bool, rank: bool },
    TargetLogits,
    Logits,
    Divergences(Divergences),
    Derivatives,
    HiddenGradient,
    ClassifierGradient,
    BiasGradient,
    Patch,
    GaussianProducts,
    Gram,
    Dropped,
}

/// All that the text of a shader depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kernel {
    pub(super) kind: Kind,
    pub(super) tile: Tile,
    pub(super) hidden: Format,
    pub(super) classifier: Format,
    /// Whether rows are whole vectors of four.
    pub(super) aligned: bool,
    pub(super) bias: bool,
    pub(super) softcap: bool,
    /// Whether each row has a scale of its own.
    pub(super) scales: bool,
    pub(super) weighing: Weighing,
    pub(super) beside: Beside,
    pub(super) filter: bool,
    /// Whether the logit of a target is 0.
    pub(super) zero_at_target: bool,
    pub(super) immediates: bool,
}

/// How a kernel uses a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

impl Kernel {
    /// A kernel of f32 and nothing optional.
    pub(super) fn plain(kind: Kind, immediates: bool) -> Self {
        Self {
            kind,
            tile: Tile::ALL[0],
            hidden: Format::F32,
            classifier: Format::F32,
            aligned: false,
            bias: false,
            softcap: false,
            scales: false,
            weighing: Weighing::None,
            beside: Beside::Nothing,
            filter: false,
            zero_at_target: false,
            immediates,
        }
    }

    /// Bytes of workgroup memory of its shader, where it has any.
    #[cfg(test)]
    fn workgroup_bytes(&self) -> u32 {
        match self.kind {
            Kind::GaussianProducts => (320 + 160) * 16 + 64 * 33 * 4,
            Kind::Gram => (320 + 320) * 16,
            _ => self.tile.workgroup_bytes(),
        }
    }

    /// The same kernel without what its kind does not look at.
    pub(super) fn of_kind(self, kind: Kind) -> Self {
        let plain = Self::plain(kind, self.immediates);
        match kind {
            Kind::Forward { .. } => {
                let beside = match self.beside {
                    Beside::Second(_) => Beside::Nothing,
                    other => other,
                };
                Self { kind, beside, filter: false, zero_at_target: false, ..self }
            }
            Kind::Logits | Kind::Divergences(_) => {
                let beside = match (kind, self.beside) {
                    (Kind::Logits, Beside::Given) => Beside::Given,
                    _ => Beside::Nothing,
                };
                let zero_at_target = kind == Kind::Logits && self.zero_at_target;
                let weighing = Weighing::None;
                Self { kind, weighing, beside, filter: false, zero_at_target, ..self }
            }
            Kind::TargetLogits => Self {
                kind,
                tile: plain.tile,
                weighing: plain.weighing,
                beside: plain.beside,
                filter: false,
                zero_at_target: false,
                ..self
            },
            Kind::Derivatives => {
                // Without class weights of their own the coefficient of the weights does it.
                let weighing = match self.weighing {
                    Weighing::Uniform => Weighing::None,
                    other => other,
                };
                let beside = match self.beside {
                    Beside::Given => Beside::Nothing,
                    other => other,
                };
                Self { kind, weighing, beside, zero_at_target: false, ..self }
            }
            Kind::HiddenGradient => {
                Self { tile: self.tile, classifier: self.classifier, filter: self.filter, ..plain }
            }
            Kind::ClassifierGradient => {
                Self { tile: self.tile, hidden: self.hidden, filter: self.filter, ..plain }
            }
            Kind::BiasGradient => Self { filter: self.filter, ..plain },
            Kind::Patch | Kind::Dropped | Kind::GaussianProducts | Kind::Gram => plain,
        }
    }

    /// Whether the derivatives read a fourth vector of each row.
    pub(super) fn more(&self) -> bool {
        let beside = matches!(self.beside, Beside::Second(_) | Beside::Others);
        self.beside.is_companion() || beside || self.scales
    }

    /// The bindings of group 0.
    pub(super) fn bindings(&self) -> Vec<(u32, Access)> {
        use Access::{Read, Write};
        let mut bindings = match self.kind {
            Kind::Forward { .. } | Kind::TargetLogits | Kind::Derivatives => {
                vec![(0, Read), (1, Read), (2, Read), (5, Write)]
            }
            Kind::Logits if self.beside == Beside::Given => vec![(0, Read), (5, Write)],
            Kind::Logits => vec![(0, Read), (1, Read), (2, Read), (5, Write)],
            Kind::Divergences(_) => {
                vec![(0, Read), (1, Read), (2, Read), (5, Write), (7, Read)]
            }
            Kind::HiddenGradient | Kind::ClassifierGradient => {
                vec![(0, Read), (1, Read), (2, Read), (3, Write)]
            }
            Kind::BiasGradient | Kind::Patch | Kind::Gram => vec![(0, Read), (1, Write)],
            Kind::Dropped | Kind::GaussianProducts => vec![(0, Read), (1, Read), (2, Write)],
        };
        let weighs = matches!(self.weighing, Weighing::Classes | Weighing::Dense);
        let beside = self.beside != Beside::Nothing;
        match self.kind {
            Kind::Forward { rank, .. } => {
                bindings.extend(weighs.then_some((4, Read)));
                bindings.extend(rank.then_some((6, Read)));
                bindings.extend(beside.then_some((7, Read)));
            }
            Kind::TargetLogits => bindings.push((4, Read)),
            Kind::Derivatives => {
                bindings.extend(weighs.then_some((4, Read)));
                if self.filter {
                    bindings.extend([(6, Write), (7, Write)]);
                }
                let beside = beside && self.beside != Beside::Others;
                bindings.extend(beside.then_some((7, Read)));
            }
            Kind::HiddenGradient | Kind::ClassifierGradient => {
                bindings.extend(self.filter.then_some((4, Read)));
            }
            Kind::BiasGradient => bindings.extend(self.filter.then_some((2, Read))),
            Kind::Logits
            | Kind::Divergences(_)
            | Kind::Patch
            | Kind::Dropped
            | Kind::GaussianProducts
            | Kind::Gram => {}
        }
        let biased = matches!(
            self.kind,
            Kind::Forward { .. }
                | Kind::TargetLogits
                | Kind::Logits
                | Kind::Divergences(_)
                | Kind::Derivatives
        );
        bindings.extend((self.bias && biased).then_some((3, Read)));
        bindings.sort_by_key(|&(binding, _)| binding);
        bindings
    }

    /// The shader.
    pub(super) fn source(&self) -> String {
        let mut values = Values::default();
        let mut set = |name: &'static str, on: bool| {
            if on {
                values.flags.insert(name);
            }
        };
        set("IMMEDIATES", self.immediates);
        set("BIAS", self.bias);
        set("SOFTCAP", self.softcap);
        set("SCALES", self.scales);
        set("FILTER", self.filter);
        set("ALIGNED", self.aligned);
        set("WEIGHTED", self.weighing != Weighing::None);
        set("WEIGHTS", matches!(self.weighing, Weighing::Classes | Weighing::Dense));
        set("DENSE", self.weighing == Weighing::Dense);
        set("COMPANION", self.beside.is_companion());
        set("ENTRIES", self.beside == Beside::Entries);
        set("GIVEN", self.beside == Beside::Given);
        set("ZERO_AT_TARGET", self.zero_at_target);
        set("OTHERS", self.beside == Beside::Others);
        set("SECOND", matches!(self.beside, Beside::Second(_)));
        let divergences = match (self.kind, self.beside) {
            (Kind::Divergences(divergences), _) | (_, Beside::Second(divergences)) => divergences,
            _ => Divergences::default(),
        };
        set("FORWARD", divergences.forward);
        set("REVERSE", divergences.reverse);
        set("MIXTURE", divergences.mixture.is_some());
        set("OF_FIRST", divergences.mixture == Some(Of::First));
        set("OF_SECOND", divergences.mixture == Some(Of::Second));
        set("OF_BOTH", divergences.mixture == Some(Of::Both));
        set("VARIATION", divergences.variation);
        set("MORE_PAIRS", divergences.more());
        set("MORE", self.more());
        let products = matches!(self.kind, Kind::HiddenGradient | Kind::ClassifierGradient);
        set("QUADS", !products);
        set("TRANSPOSED", self.kind == Kind::ClassifierGradient);
        if let Kind::Forward { entropy, varentropy, rank } = self.kind {
            set("ENTROPY", entropy || varentropy);
            set("VARENTROPY", varentropy);
            set("RANK", rank);
        }
        let Tile { rows, columns } = self.tile;
        for (name, value) in [
            ("BM", rows),
            ("BN", columns),
            ("TM", rows / 16),
            ("TN", columns / 16),
            ("A_LOADS", rows / 64),
            ("B_LOADS", columns / 64),
            ("ROW_BLOCKS", rows / 64),
            ("COLUMN_BLOCKS", columns / 64),
            ("B_OFFSET", rows * 5),
            ("SHARED", self.tile.shared()),
            ("PAIR_WORDS", divergences.words() as u32),
            ("PAIR_VECTORS", if divergences.more() { 3 } else { 2 }),
            ("REVERSE_AT", divergences.place(1) as u32),
            ("MIXTURE_AT", divergences.place(2) as u32),
            ("VARIATION_AT", divergences.place(3) as u32),
        ] {
            values.numbers.insert(name.into(), value);
        }
        values.matrices.insert("hidden", vec![self.hidden.flag()]);
        values.matrices.insert("classifier", vec![self.classifier.flag()]);
        render(self.template(), &values)
    }

    fn template(&self) -> &'static str {
        match self.kind {
            Kind::Forward { .. } => "forward",
            Kind::TargetLogits => "target_logits",
            Kind::Logits => "logits",
            Kind::Divergences(_) => "divergences",
            Kind::Derivatives => "derivatives",
            Kind::HiddenGradient | Kind::ClassifierGradient => "product",
            Kind::BiasGradient => "bias_gradient",
            Kind::Patch => "patch",
            Kind::GaussianProducts => "gaussian_products",
            Kind::Gram => "gram",
            Kind::Dropped => "dropped",
        }
    }
}

/// `Params` of shaders/params.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Params {
    pub(super) rows: u32,
    pub(super) first_row: u32,
    pub(super) hidden_origin: u32,
    pub(super) width: u32,
    pub(super) columns: u32,
    pub(super) first_class: u32,
    pub(super) span: u32,
    pub(super) spans: u32,
    pub(super) first_span: u32,
    pub(super) first_column: u32,
    pub(super) stride: u32,
    pub(super) count: u32,
    pub(super) scale: f32,
    pub(super) softcap: f32,
    pub(super) threshold: f32,
    pub(super) extra: u32,
}

impl Params {
    /// As the shader reads them.
    pub(super) fn words(&self) -> [u32; 16] {
        let Self {
            rows, first_row, hidden_origin, width, columns, first_class, span, spans, ..
        } = *self;
        let Self {
            first_span, first_column, stride, count, scale, softcap, threshold, extra, ..
        } = *self;
        let [scale, softcap, threshold] = [scale, softcap, threshold].map(f32::to_bits);
        [
            rows,
            first_row,
            hidden_origin,
            width,
            columns,
            first_class,
            span,
            spans,
            first_span,
            first_column,
            stride,
            count,
            scale,
            softcap,
            threshold,
            extra,
        ]
    }
}

#[cfg(test)]
mod tests {
    use naga::back::{hlsl, msl, spv};
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    use std::collections::HashSet;

    use super::*;

    const NEITHER: Divergences =
        Divergences { forward: false, reverse: false, mixture: None, variation: false };
    const BOTH: Divergences = Divergences { forward: true, reverse: true, ..NEITHER };
    const MIXTURE: Divergences = Divergences { mixture: Some(Of::First), ..NEITHER };
    const ALL: Divergences = Divergences { mixture: Some(Of::Both), variation: true, ..BOTH };
    const KINDS: [Kind; 23] = [
        Kind::Forward { entropy: false, varentropy: false, rank: false },
        Kind::Forward { entropy: true, varentropy: false, rank: false },
        Kind::Forward { entropy: true, varentropy: true, rank: false },
        Kind::Forward { entropy: false, varentropy: false, rank: true },
        Kind::Forward { entropy: true, varentropy: false, rank: true },
        Kind::Forward { entropy: true, varentropy: true, rank: true },
        Kind::TargetLogits,
        Kind::Logits,
        Kind::Divergences(Divergences { forward: true, ..NEITHER }),
        Kind::Divergences(Divergences { reverse: true, ..NEITHER }),
        Kind::Divergences(BOTH),
        Kind::Divergences(MIXTURE),
        Kind::Divergences(Divergences { mixture: Some(Of::Second), ..NEITHER }),
        Kind::Divergences(Divergences { variation: true, ..NEITHER }),
        Kind::Divergences(ALL),
        Kind::Derivatives,
        Kind::HiddenGradient,
        Kind::ClassifierGradient,
        Kind::BiasGradient,
        Kind::Patch,
        Kind::GaussianProducts,
        Kind::Gram,
        Kind::Dropped,
    ];
    const WEIGHINGS: [Weighing; 4] =
        [Weighing::None, Weighing::Uniform, Weighing::Classes, Weighing::Dense];

    /// Every switch with every other that its lines meet, for one storage and tile, and every storage and
    /// tile with all switches off and on.
    fn variants() -> HashSet<Kernel> {
        let mut kernels = HashSet::new();
        let mut add = |kernel: Kernel| {
            kernels.extend(KINDS.map(|kind| kernel.of_kind(kind)));
        };
        let plain = |tile, hidden, classifier| Kernel {
            kind: Kind::Patch,
            tile,
            hidden,
            classifier,
            aligned: true,
            bias: false,
            softcap: false,
            scales: false,
            weighing: Weighing::None,
            beside: Beside::Nothing,
            filter: false,
            zero_at_target: false,
            immediates: true,
        };
        for bits in 0..32 {
            for weighing in WEIGHINGS {
                let [aligned, bias, softcap, filter, immediates] =
                    [0, 1, 2, 3, 4].map(|bit| bits >> bit & 1 == 1);
                let of = plain(Tile::ALL[0], Format::F32, Format::F32);
                let of = Kernel { aligned, bias, softcap, weighing, filter, immediates, ..of };
                add(of);
                // How matrices and parameters are read is apart from what stands beside a row or a logit.
                if aligned && immediates {
                    for beside in [
                        Beside::Nothing,
                        Beside::Classes,
                        Beside::Entries,
                        Beside::Given,
                        Beside::Others,
                        Beside::Second(Divergences { forward: true, ..NEITHER }),
                        Beside::Second(Divergences { reverse: true, ..NEITHER }),
                        Beside::Second(BOTH),
                        Beside::Second(MIXTURE),
                        Beside::Second(Divergences { mixture: Some(Of::Second), ..BOTH }),
                        Beside::Second(Divergences { variation: true, ..NEITHER }),
                        Beside::Second(ALL),
                    ] {
                        let filter = filter && beside == Beside::Nothing;
                        add(Kernel { scales: true, beside, filter, ..of });
                        add(Kernel { beside, filter, zero_at_target: true, ..of });
                    }
                }
            }
        }
        for tile in Tile::ALL {
            for hidden in Format::ALL {
                for classifier in Format::ALL {
                    let of = plain(tile, hidden, classifier);
                    for aligned in [false, true] {
                        add(Kernel { aligned, ..of });
                        let weighing = Weighing::Classes;
                        let on = Kernel { bias: true, softcap: true, filter: true, ..of };
                        add(Kernel { aligned, weighing, immediates: false, ..on });
                        for beside in
                            [Beside::Entries, Beside::Given, Beside::Others, Beside::Second(ALL)]
                        {
                            add(Kernel {
                                aligned,
                                weighing,
                                beside,
                                filter: false,
                                scales: true,
                                ..on
                            });
                        }
                    }
                }
            }
        }
        kernels
    }

    fn check(kernel: &Kernel) {
        let source = kernel.source();
        let failed = |what: String| -> ! { panic!("{kernel:?}: {what}\n{source}") };
        let capabilities =
            if kernel.immediates { Capabilities::IMMEDIATES } else { Capabilities::empty() };
        let options = naga::front::wgsl::Options { parse_doc_comments: false, capabilities };
        let module = naga::front::wgsl::Frontend::new_with_options(options)
            .parse(&source)
            .unwrap_or_else(|error| failed(error.emit_to_string(&source)));
        let info = Validator::new(ValidationFlags::all(), capabilities)
            .validate(&module)
            .unwrap_or_else(|error| failed(error.emit_to_string(&source)));
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).unwrap();
        let entry = info.get_entry_point(0);
        let (mut shared, mut bindings) = (0, Vec::new());
        for (handle, variable) in module.global_variables.iter() {
            if variable.space == naga::AddressSpace::WorkGroup && !entry[handle].is_empty() {
                shared += layouter[variable.ty].size.next_multiple_of(16);
            }
            if variable.name.as_deref() == Some("P") {
                assert_eq!(layouter[variable.ty].size as usize, size_of::<Params>());
            }
            if let Some(binding) = variable.binding
                && binding.group == 0
            {
                let naga::AddressSpace::Storage { access } = variable.space else { panic!() };
                let write = access.contains(naga::StorageAccess::STORE);
                bindings.push((binding.binding, if write { Access::Write } else { Access::Read }));
            }
        }
        bindings.sort_by_key(|&(binding, _)| binding);
        assert_eq!(bindings, kernel.bindings(), "{kernel:?}");
        assert!(bindings.len() <= 8);
        let most = if kernel.tile == Tile::ALL[2] { 20480 } else { 16384 };
        assert!(shared <= most, "{kernel:?} shares {shared} bytes");
        assert!(shared == 0 || shared == kernel.workgroup_bytes());
        assert!(module.entry_points[0].workgroup_size.iter().product::<u32>() <= 256);

        let stage = naga::ShaderStage::Compute;
        let pipeline = spv::PipelineOptions { shader_stage: stage, entry_point: "main".into() };
        if let Err(error) =
            spv::write_vec(&module, &info, &spv::Options::default(), Some(&pipeline))
        {
            failed(error.to_string());
        }
        let options = msl::Options {
            lang_version: (2, 4),
            fake_missing_bindings: true,
            ..Default::default()
        };
        if let Err(error) = msl::write_string(&module, &info, &options, &Default::default()) {
            failed(error.to_string());
        }
        let mut text = String::new();
        let options = hlsl::Options {
            shader_model: hlsl::ShaderModel::V6_2,
            fake_missing_bindings: true,
            immediates_target: Some(hlsl::BindTarget::default()),
            ..Default::default()
        };
        let pipeline = hlsl::PipelineOptions::default();
        if let Err(error) =
            hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None)
        {
            failed(error.to_string());
        }
    }

    #[test]
    fn every_variant_is_valid_and_translates_for_every_back_end() {
        let variants = variants();
        assert!(variants.len() > 500, "{} variants", variants.len());
        variants.iter().for_each(check);
        println!("{} variants", variants.len());
    }

    /// A workgroup whose threads do not all come to a barrier hangs some GPUs, and naga does not
    /// see it: barriers stand where no condition is around them but loops over what is uniform.
    #[test]
    fn barriers_are_in_uniform_control_flow() {
        for kernel in variants() {
            let source = kernel.source();
            let mut inside = Vec::new();
            for line in source.lines().map(str::trim) {
                if line.starts_with('}') {
                    inside.pop();
                }
                if line.ends_with('{') {
                    inside.push(line);
                }
                if line == "workgroupBarrier();" {
                    let good = |line: &&str| {
                        line.ends_with(") {")
                            && (line.starts_with("for (var k = ")
                                || line.starts_with("for (var block = 0u;")
                                || line.starts_with("for (var column = ")
                                // Of the Gram product: none for a workgroup below the diagonal.
                                || line.starts_with("for (var start = 0u; start < rows;"))
                            || *line == ") {"
                            || line.starts_with("fn main(")
                    };
                    assert!(inside.iter().all(good), "{inside:?}");
                }
                // No way out of a kernel with barriers before its end; what skips a step asks a
                // number that is the same for the whole workgroup.
                if source.contains("workgroupBarrier();") && inside.len() > 1 {
                    let own = inside.iter().any(|line| line.starts_with("fn push"));
                    assert!(own || !line.starts_with("return;"), "{line}");
                }
            }
        }
    }
}

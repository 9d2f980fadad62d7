//! The coefficients of the elementary functions; their own files say what they approximate.

/// The constants of `exp` for one scalar type.
pub struct ExpConstants<T: 'static> {
    /// 1 / ln 2.
    pub(super) log2_e: T,
    /// 1.5 · 2^mantissa bits: adding it rounds to an integer in the low bits.
    pub(super) round: T,
    /// −ln 2 with zeros for low bits, and the rest.
    pub(super) minus_ln_2: [T; 2],
    /// The coefficients of `P`, from the highest power down.
    pub(super) polynomial: &'static [T],
    /// The least x whose exponential is a normal number.
    pub(super) lowest: T,
    pub(super) zero: T,
    pub(super) one: T,
}

pub(super) const EXP_F32: ExpConstants<f32> = ExpConstants {
    log2_e: std::f32::consts::LOG2_E,
    round: 12_582_912.0,
    minus_ln_2: [-0.693_145_75, -1.428_606_8e-6],
    polynomial: &[0.001_381_492_2, 0.008_368_675, 0.041_668_378, 0.166_665_21, 0.499_999_94],
    lowest: -87.336_54,
    zero: 0.0,
    one: 1.0,
};

pub(super) const EXP_F64: ExpConstants<f64> = ExpConstants {
    log2_e: std::f64::consts::LOG2_E,
    round: 6_755_399_441_055_744.0,
    minus_ln_2: [-0.693147180559663, -2.8235290563031577e-13],
    polynomial: &[
        2.0826840976270696e-09,
        2.5111879020465548e-08,
        2.755757981518909e-07,
        2.7557235396228933e-06,
        2.4801586931690714e-05,
        1.984126989573958e-4,
        0.001388888888911051,
        0.008333333333317358,
        0.041666666666666116,
        0.16666666666666682,
        0.5,
    ],
    lowest: -708.3964185322641,
    zero: 0.0,
    one: 1.0,
};

/// The constants of `tanh` for one scalar type.
pub struct TanhConstants<T: 'static> {
    pub(super) minus_two: T,
    pub(super) four: T,
    /// Below it the polynomial serves.
    pub(super) threshold: T,
    /// The coefficients of `P`, from the highest power down.
    pub(super) polynomial: &'static [T],
}

pub(super) const TANH_F32: TanhConstants<f32> = TanhConstants {
    minus_two: -2.0,
    four: 4.0,
    threshold: 0.625,
    polynomial: &[
        0.002_144_026_8,
        -0.008_178_869,
        0.021_701_46,
        -0.053_946_94,
        0.133_332_07,
        -0.333_333_3,
    ],
};

pub(super) const TANH_F64: TanhConstants<f64> = TanhConstants {
    minus_two: -2.0,
    four: 4.0,
    threshold: 0.625,
    polynomial: &[
        -2.274831161046212e-06,
        1.1803004451852002e-05,
        -3.6635770239498515e-05,
        9.575835174108393e-05,
        -0.00023877416141082264,
        0.0005899502621648326,
        -0.0014558225140651156,
        0.003592126763361975,
        -0.008863235437574495,
        0.02186948853185811,
        -0.05396825396813652,
        0.13333333333333172,
        -0.3333333333333333,
    ],
};

/// The coefficients 1/(k+2)! of (eˣ − 1 − x)/x², from the highest power down; as many as |x| ≤ 1 needs.
const fn remainder_coefficients<const N: usize>() -> [f64; N] {
    let mut all = [0.0; N];
    let (mut factorial, mut k) = (2.0, 0);
    while k < N {
        all[N - 1 - k] = 1.0 / factorial;
        k += 1;
        factorial *= (k + 2) as f64;
    }
    all
}

/// The first that is left out is 1/20! = 4·10⁻¹⁹.
pub(super) const REMAINDER_F64: &[f64] = &remainder_coefficients::<18>();

/// The first that is left out is 1/12! = 2·10⁻⁹.
pub(super) const REMAINDER_F32: &[f32] = &{
    let wide = remainder_coefficients::<10>();
    let mut all = [0.0; 10];
    let mut k = 0;
    while k < 10 {
        all[k] = wide[k] as f32;
        k += 1;
    }
    all
};

/// The constants of the logarithm for one scalar type.
pub struct LogConstants<T: 'static> {
    /// √2.
    pub(super) sqrt_2: T,
    pub(super) half: T,
    /// ln 2 with zeros for low bits, and the rest.
    pub(super) ln_2: [T; 2],
    /// 2/(2k+1), from the highest k down to 0; as many as s² ≤ 0.0295 needs.
    pub(super) series: &'static [T],
}

/// 2/(2k+1), from k = N − 1 down.
const fn series_coefficients<const N: usize>() -> [f64; N] {
    let mut all = [0.0; N];
    let mut k = 0;
    while k < N {
        all[N - 1 - k] = 2.0 / (2 * k + 1) as f64;
        k += 1;
    }
    all
}

pub(super) const LOG_F64: LogConstants<f64> = LogConstants {
    sqrt_2: std::f64::consts::SQRT_2,
    half: 0.5,
    ln_2: [0.693147180559663, 2.8235290563031577e-13],
    series: &series_coefficients::<11>(),
};

pub(super) const LOG_F32: LogConstants<f32> = LogConstants {
    sqrt_2: std::f32::consts::SQRT_2,
    half: 0.5,
    ln_2: [0.693_145_75, 1.428_606_8e-6],
    series: &{
        let wide = series_coefficients::<5>();
        let mut all = [0.0; 5];
        let mut k = 0;
        while k < 5 {
            all[k] = wide[k] as f32;
            k += 1;
        }
        all
    },
};

/// The constants of the normal distribution for one scalar type.
pub struct NormalConstants<T: 'static> {
    /// 1 + 2 to the power of half the bits of the mantissa: times it a number falls in two parts.
    pub(super) splitter: T,
    pub(super) minus_half: T,
    /// From here on the exponential of −t²/2 is 0.
    pub(super) most: T,
    /// 4: the polynomial is in (t − 4)/(t + 4).
    pub(super) shift: T,
    /// 1/√(2π).
    pub(super) density: T,
    /// The coefficients of `P`, from the highest power down.
    pub(super) polynomial: &'static [T],
}

pub(super) const NORMAL_F32: NormalConstants<f32> = NormalConstants {
    splitter: 4097.0,
    minus_half: -0.5,
    most: 13.25,
    shift: 4.0,
    density: 0.398_942_3,
    polynomial: &[
        -0.000_115_843_635,
        0.000_211_579_29,
        0.001_577_709_2,
        -0.003_529_760_3,
        -0.007_532_521,
        0.060_406_85,
        -0.186_522_2,
        0.387_136_7,
        -0.607_896_6,
        0.755_285_14,
    ],
};

pub(super) const NORMAL_F64: NormalConstants<f64> = NormalConstants {
    splitter: 134_217_729.0,
    minus_half: -0.5,
    most: 37.65,
    shift: 4.0,
    density: 0.3989422804014327,
    polynomial: &[
        -9.184771451678878e-10,
        1.9054838690700575e-10,
        1.3858645871432278e-08,
        1.4210966127840914e-08,
        -7.644761276692808e-08,
        -1.5377766642286208e-07,
        2.6389746266048705e-07,
        1.0194512920716663e-06,
        -6.253402261070439e-07,
        -5.918737827947067e-06,
        7.15112789176636e-07,
        3.514413932582527e-05,
        -1.9078990454226582e-06,
        -0.00023109481145988956,
        0.00013334425987699864,
        0.0016308184412427659,
        -0.003479692362840292,
        -0.007540188965561452,
        0.060396574890730165,
        -0.1865218579596948,
        0.38713740074221825,
        -0.6078966419718917,
        0.7552851304157515,
    ],
};

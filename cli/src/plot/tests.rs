use super::*;

/// The picture that `draw` writes; `SURPRISAL_PICTURES` keeps it there, to be looked at.
fn picture(name: &str, draw: impl FnOnce(&Path) -> Result<(), Failure>) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(format!("{name}.svg"));
    draw(&path).unwrap();
    let svg = std::fs::read_to_string(&path).unwrap();
    if let Some(kept) = std::env::var_os("SURPRISAL_PICTURES") {
        std::fs::copy(&path, Path::new(&kept).join(format!("{name}.svg"))).unwrap();
    }
    assert!(svg.starts_with("<svg width=\"760\" height=\"480\""), "{svg}");
    assert!(svg.ends_with("</svg>\n"), "{svg}");
    assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    for point in coordinates(&svg) {
        assert!((-100.0..=8000.0).contains(&point), "{point} in {svg}");
    }
    svg
}

/// All numbers of polylines and circles.
fn coordinates(svg: &str) -> Vec<f64> {
    let attributes = ["points=\"", "cx=\"", "cy=\""];
    let values = attributes.iter().flat_map(|name| {
        svg.match_indices(name).map(|(at, _)| svg[at + name.len()..].split('"').next().unwrap())
    });
    values.flat_map(|list| list.split([' ', ','])).filter_map(|x| x.parse().ok()).collect()
}

fn has(svg: &str, labels: &[&str]) {
    for label in labels {
        assert!(svg.contains(label), "no {label} in {svg}");
    }
}

/// The least squares of the logarithms, with weights 1/rank.
fn fit(range: Range<usize>, shares: &[f64]) -> Fit {
    let mut sums = [0.0; 5];
    for index in range.clone() {
        let rank = (index + 1) as f64;
        let (x, y) = (-rank.ln(), shares[index].ln());
        let terms = [1.0, x, y, x * x, x * y];
        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term / rank);
    }
    let [weight, x, y, xx, xy] = sums;
    let alpha = (weight * xy - x * y) / (weight * xx - x * x);
    Fit { range, alpha, intercept: (y - alpha * x) / weight, r_squared: 0.99951 }
}

/// A wavy power law of so many eigenvalues, their sum 1.
fn decaying(count: usize, alpha: f64) -> Vec<f64> {
    let values: Vec<f64> = (1..=count)
        .map(|j| f64::from(j as u32))
        .map(|j| j.powf(-alpha) * (0.25 * (1.7 * j.ln()).sin()).exp())
        .collect();
    let mut shares: Vec<f64> = values.iter().map(|x| x / values.iter().sum::<f64>()).collect();
    shares.sort_by(|a, b| b.total_cmp(a));
    shares
}

#[test]
fn spectra() {
    let shares = decaying(768, 1.1);
    let svg = picture("spectrum", |path| {
        let fit = fit(10..100, &shares);
        eigenspectrum(path, "Eigenspectrum of hidden.npy, 4096 × 768", &shares, 768, Some(&fit))
    });
    has(&svg, &[", R² = 0.999", "fitted over ranks 11–100", "hidden.npy", "share of the variance"]);
    assert!(!svg.contains("not drawn"));
    // Every dot and the ends of both lines are on the plot.
    let points = coordinates(&svg);
    assert!(points.iter().all(|&x| x <= UNITS * FRAME[2] + 1.0));

    let mut low = decaying(12, 0.7);
    low.extend([3e-17, 1e-19, 0.0, 0.0]);
    let svg = picture("spectrum_low_rank", |path| {
        let fit = fit(2..12, &low);
        eigenspectrum(path, "Eigenspectrum of <rank> 12 & more", &low, 12, Some(&fit))
    });
    has(
        &svg,
        &["4 eigenvalues beyond the numerical rank are not drawn", "&lt;rank&gt; 12 &amp; more"],
    );
    assert_eq!(svg.matches("<circle").count(), 12);

    let steep: Vec<f64> = (0..40).map(|j| 0.9 * 10_f64.powf(-0.4 * f64::from(j))).collect();
    picture("spectrum_steep", |path| eigenspectrum(path, "Steep", &steep, 38, None));
    let flat = [0.05; 20];
    picture("spectrum_flat", |path| {
        eigenspectrum(path, "Flat", &flat, 20, Some(&fit(0..20, &flat)))
    });
    picture("spectrum_one", |path| eigenspectrum(path, "One", &[1.0, 0.0], 1, None));
    let svg = picture("spectrum_none", |path| eigenspectrum(path, "None", &[0.0; 5], 0, None));
    has(&svg, &["all eigenvalues are 0", "5 eigenvalues beyond"]);
    let svg = picture("spectrum_empty", |path| eigenspectrum(path, "Nothing", &[], 0, None));
    has(&svg, &["all eigenvalues are 0"]);
    let bad = [0.7, f64::NAN, f64::INFINITY];
    has(&picture("spectrum_bad", |path| eigenspectrum(path, "Bad", &bad, 3, None)), &["2 eigenv"]);
}

fn points(values: impl IntoIterator<Item = (f64, f64, Option<f64>)>) -> Vec<Point> {
    values.into_iter().map(|(x, y, error)| Point { x, y, error }).collect()
}

#[test]
fn curves() {
    let over_t = points(
        (0..17)
            .map(|j| 2_f64.powf(0.5 * f64::from(j) - 4.0))
            .map(|t| (t, 9.3 / (1.0 + 0.7 * t.powf(0.8)), Some(0.25 / (1.0 + t)))),
    );
    let mut shown = Curve {
        title: "Diffusion spectral entropy of hidden.npy, σ = 10",
        x: "t, power of the diffusion operator",
        y: "DSE in bits",
        points: &over_t,
        marked: Some(8),
        limit: Some((10.81, "log₂ N = 10.81")),
        logarithmic: true,
    };
    let svg = picture("curve_over_t", |path| curve(path, &shown));
    has(&svg, &["5.471 at t = 1", "log₂ N = 10.81", "DSE in bits", "power of the diffusion"]);
    assert_eq!(svg.matches("<circle").count(), 18);

    let over_sigma = points(
        [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
            .into_iter()
            .zip([10.81, 10.81, 10.81, 10.45, 8.37, 3.05, 1.04])
            .map(|(x, y)| (x, y, None)),
    );
    shown = Curve { x: "σ, width of the kernel", points: &over_sigma, marked: Some(3), ..shown };
    has(&picture("curve_over_sigma", |path| curve(path, &shown)), &["10.45 at σ = 10"]);

    let rising = points((1..=6).map(f64::from).map(|t| (t, 0.004 * t - 0.01, Some(0.003))));
    shown = Curve {
        points: &rising,
        title: "A rising curve through 0, linear",
        marked: Some(4),
        limit: None,
        logarithmic: false,
        ..shown
    };
    has(&picture("curve_linear", |path| curve(path, &shown)), &["−0.005", "0.01 at σ = 5"]);

    for (name, values) in [
        ("curve_one", vec![(1.0, 3.0, Some(f64::NAN))]),
        ("curve_constant", vec![(1.0, 5.0, None), (2.0, 5.0 + 1e-14, None)]),
        ("curve_zero", vec![(1.0, 0.0, None), (2.0, 0.0, Some(0.0))]),
        ("curve_none", vec![]),
        ("curve_bad", vec![(f64::NAN, 1.0, None), (1.0, f64::INFINITY, None), (2.0, 1.0, None)]),
    ] {
        for logarithmic in [false, true] {
            let values = points(values.clone());
            let shown = Curve { points: &values, marked: Some(0), logarithmic, ..shown.clone() };
            picture(&format!("{name}_{logarithmic}"), |path| curve(path, &shown));
        }
    }
}

#[test]
fn roc_curves() {
    let steps = |power: f64| -> Vec<[f64; 2]> {
        (0..=200).map(|j| f64::from(j) / 200.0).map(|x| [x, x.powf(power)]).collect()
    };
    let curves: Vec<RocCurve> = [("perplexity", 0.6), ("Min-K %", 0.4), ("DC-PDD", 0.9)]
        .into_iter()
        .map(|(name, power)| RocCurve { name: format!("{name}, {power}"), points: steps(power) })
        .collect();
    let svg = picture("roc", |path| roc(path, "60 texts trained on, among 120", &curves, 0.05));
    has(&svg, &["perplexity, 0.6", "DC-PDD, 0.9", "60 texts trained on", "share of the others"]);
    // The three curves, the line of chance, the rule, three keys, and what the axes have.
    assert!(svg.matches("<polyline").count() > 8);
    has(&picture("roc_none", |path| roc(path, "Nothing", &[], 1.0)), &["area under its curve"]);
}

#[test]
fn laws() {
    let told =
        |x: f64, loss: f64, reach: f64| Told { x, loss, lower: loss - reach, upper: loss + reach };
    let one = Series {
        name: "one".into(),
        points: points((1..9).map(|k| (10_f64.powi(k), 2.0 + 3.0 / f64::from(k), None))),
        curve: (1..99)
            .map(|k| 10_f64.powf(f64::from(k) / 10.0))
            .map(|x| told(x, 2.0 + 8.0 / (3.0 + x.ln()), 0.1))
            .collect(),
        predicted: vec![told(1e10, 2.3, 0.2)],
    };
    let shown = |series: &[Series], logarithmic| {
        let picture_of = LawPicture {
            title: "A law",
            x: "x",
            y: "loss",
            lines: ["L = 2".into(), "R² = 1".into()],
            series,
            limit: Some((2.0, "L∞ = 2")),
            logarithmic,
            note: String::new(),
        };
        picture(&format!("law_{}_{logarithmic}", series.len()), |path| law(path, &picture_of))
    };
    let svg = shown(std::slice::from_ref(&one), true);
    has(&svg, &["L∞ = 2", "L = 2", "R² = 1", "10⁶"]);
    assert_eq!((svg.matches("<circle").count(), svg.matches("<polygon").count()), (10, 1));
    let bad = Series {
        points: points([(f64::NAN, 1.0, None), (-1.0, 2.0, None), (3.0, f64::INFINITY, None)]),
        curve: vec![
            told(1.0, f64::NAN, 0.0),
            told(2.0, -1.0, f64::INFINITY),
            told(3.0, 1e300, 1e307),
        ],
        predicted: vec![told(3.0, 2.0, f64::INFINITY)],
        name: "bad".into(),
    };
    for logarithmic in [false, true] {
        shown(&[one.clone(), bad.clone()], logarithmic);
        shown(&[Series::default(), bad.clone(), one.clone()], logarithmic);
    }
    let directory = tempfile::tempdir().unwrap();
    let none = LawPicture {
        title: "",
        x: "",
        y: "",
        lines: [String::new(), String::new()],
        series: &[],
        limit: None,
        logarithmic: true,
        note: String::new(),
    };
    assert!(law(&directory.path().join("none.svg"), &none).is_err());
}

#[test]
fn a_place_that_cannot_be_written_is_refused_before_the_work() {
    let directory = tempfile::tempdir().unwrap();
    assert!(check(&directory.path().join("plot.svg")).is_ok());
    assert!(check(Path::new("plot.SVG")).is_ok());
    for bad in ["plot.png", "plot", "", "no/such/directory/plot.svg"] {
        let Err(Failure::Input(message)) = check(Path::new(bad)) else { panic!("{bad}") };
        assert!(message.starts_with(&format!("--plot is {bad}, expected")), "{message}");
    }
    let Err(Failure::Other(message)) =
        eigenspectrum(&directory.path().join("no/plot.svg"), "", &[1.0], 1, None)
    else {
        panic!("written")
    };
    assert!(message.starts_with("cannot write "), "{message}");
}

#[test]
fn names_with_letters_that_no_xml_holds() {
    let points = points([(1.0, 2.0, None), (2.0, 1.0, None)]);
    let name = "a\u{1}b\u{0}c\u{1b}[0m\u{fffe}<d>";
    let svg = picture("letters", |path| {
        curve(
            path,
            &Curve {
                title: name,
                x: name,
                y: name,
                points: &points,
                marked: None,
                limit: None,
                logarithmic: false,
            },
        )
    });
    assert!(svg.chars().all(|c| c == '\n' || (c >= ' ' && c != '\u{fffe}')), "{svg:?}");
    assert!(svg.contains("&lt;d&gt;"));
}

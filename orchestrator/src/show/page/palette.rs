//! The colours of the page, as constants. Tests compute their contrast, and their distance for
//! people who see no difference between red and green.

use s2lab_mmu::MemoryType;
use std::fmt;

/// A colour by sRGB, as in CSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour(u32);

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:06x}", self.0)
    }
}

/// The colours of text and of what is below it, each by the name of its CSS variable.
pub(super) struct Theme {
    /// The grounds of text.
    grounds: [(&'static str, Colour); 3],
    /// The colours of text; each is readable on each ground.
    inks: [(&'static str, Colour); 6],
    /// The lines between things, which carry no meaning.
    line: Colour,
}

pub(super) const LIGHT: Theme = Theme {
    grounds: [("page", Colour(0xff_ffff)), ("card", Colour(0xf5_f6f8)), ("mark", Colour(0xff_f0c2))],
    inks: [
        ("text", Colour(0x1b_1f24)),
        ("dim", Colour(0x52_5960)),
        ("link", Colour(0x0b_57b0)),
        ("good", Colour(0x15_6330)),
        ("bad", Colour(0xb0_1722)),
        ("warn", Colour(0x80_4a00)),
    ],
    line: Colour(0xd0_d5da),
};

pub(super) const DARK: Theme = Theme {
    grounds: [("page", Colour(0x12_1519)), ("card", Colour(0x1b_2026)), ("mark", Colour(0x3d_3413))],
    inks: [
        ("text", Colour(0xe8_ebee)),
        ("dim", Colour(0xaa_b2ba)),
        ("link", Colour(0x86_b8ff)),
        ("good", Colour(0x6f_d08c)),
        ("bad", Colour(0xff_9a94)),
        ("warn", Colour(0xf0_bb5c)),
    ],
    line: Colour(0x3c_444d),
};

/// A memory type's colour and the colour of text in it. They are the same in light and dark.
pub(super) struct Swatch {
    /// The CSS class.
    pub(super) class: &'static str,
    fill: Colour,
    ink: Colour,
}

const WHITE: Colour = Colour(0xff_ffff);
const BLACK: Colour = Colour(0x10_1214);

const fn swatch(class: &'static str, fill: u32, ink: Colour) -> Swatch {
    Swatch { class, fill: Colour(fill), ink }
}

/// The colour of each memory type, in the order of [`MemoryType::ALL`]: Device types are blue, the
/// stricter the darker; Normal types go from orange to sand.
static TYPES: [Swatch; MemoryType::ALL.len()] = [
    swatch("t0", 0x1f_2a6b, WHITE),
    swatch("t1", 0x2a_68c6, WHITE),
    swatch("t2", 0x7f_b2f0, BLACK),
    swatch("t3", 0xc9_def8, BLACK),
    swatch("t4", 0xf2_b01e, BLACK),
    swatch("t5", 0x8a_5a00, WHITE),
    swatch("t6", 0xfb_e9b0, BLACK),
];

/// The colour of what is none of the seven types: mixed, reserved, or as stage 1.
static OTHER: Swatch = swatch("tx", 0x90_9090, BLACK);

/// Returns the colour of a type by its name in a report.
pub(super) fn of_type(name: &str) -> &'static Swatch {
    let at = MemoryType::ALL.iter().position(|of| of.name() == name);
    at.and_then(|at| TYPES.get(at)).unwrap_or(&OTHER)
}

/// Returns the CSS rules of all colours. Paper is light.
pub(super) fn css() -> String {
    let dark = format!("@media screen and (prefers-color-scheme:dark){{:root{{{}}}}}\n", variables(&DARK));
    let types = TYPES.iter().chain([&OTHER]);
    let types = types.map(|Swatch { class, fill, ink }| {
        format!(".{class}{{fill:{fill}}}svg text.{class}{{fill:{ink}}}path.{class}{{stroke:{ink}}}\n")
    });
    format!(":root{{{}}}\n{dark}{}", variables(&LIGHT), types.collect::<String>())
}

fn variables(theme: &Theme) -> String {
    let Theme { grounds, inks, line } = theme;
    let all = grounds.iter().chain(inks).copied().chain([("line", *line)]);
    all.map(|(name, colour)| format!("--{name}:{colour};")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least contrast of text (WCAG 2.2, 1.4.3, level AA).
    const LEAST_CONTRAST: f64 = 4.5;
    /// The least distance of two types in CIELAB (CIE 1976), where 2.3 is just noticeable.
    const LEAST_DISTANCE: f64 = 20.0;

    /// Linear RGB to the responses of the cones, and back, and the deuteranope's M response (Vienot,
    /// Brettel and Mollon 1999, "Digital video colourmaps for checking the legibility of displays by
    /// dichromats").
    const TO_LMS: [[f64; 3]; 3] =
        [[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]];
    const DEUTERANOPE: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.494207, 0.0, 1.24827], [0.0, 0.0, 1.0]];
    const FROM_LMS: [[f64; 3]; 3] = [
        [0.0809444479, -0.130504409, 0.116721066],
        [-0.0102485335, 0.0540193266, -0.113614708],
        [-0.000365296938, -0.00412161469, 0.693511405],
    ];
    /// Linear sRGB to XYZ (IEC 61966-2-1), and the white of D65.
    const TO_XYZ: [[f64; 3]; 3] =
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]];
    const D65: [f64; 3] = [0.9505, 1.0, 1.089];

    fn times(matrix: [[f64; 3]; 3], by: [f64; 3]) -> [f64; 3] {
        matrix.map(|row| row.iter().zip(by).map(|(a, b)| a * b).sum())
    }

    /// sRGB's transfer function (IEC 61966-2-1).
    fn linear(Colour(of): Colour) -> [f64; 3] {
        let channel = |shift: u32| {
            let c = f64::from((of >> shift) & 0xff) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        [channel(16), channel(8), channel(0)]
    }

    fn contrast(a: Colour, b: Colour) -> f64 {
        let luminance = |of| times(TO_XYZ, linear(of))[1];
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    fn lab(linear: [f64; 3]) -> [f64; 3] {
        let [x, y, z] = times(TO_XYZ, linear);
        let f = |t: f64| if t > 0.008856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
        let [x, y, z] = [f(x / D65[0]), f(y / D65[1]), f(z / D65[2])];
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
        lab(a).iter().zip(lab(b)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }

    fn to_a_deuteranope(of: Colour) -> [f64; 3] {
        let seen = times(FROM_LMS, times(DEUTERANOPE, times(TO_LMS, linear(of))));
        seen.map(|channel| channel.clamp(0.0, 1.0))
    }

    #[test]
    fn text_is_readable_in_light_and_dark() {
        for theme in [&LIGHT, &DARK] {
            for (ground, below) in theme.grounds {
                for (ink, above) in theme.inks {
                    let contrast = contrast(above, below);
                    assert!(contrast >= LEAST_CONTRAST, "{ink} {above} on {ground} {below}: {contrast:.2}");
                }
            }
        }
        for Swatch { class, fill, ink } in TYPES.iter().chain([&OTHER]) {
            let contrast = contrast(*ink, *fill);
            assert!(contrast >= LEAST_CONTRAST, "text in {class}: {contrast:.2}");
        }
    }

    #[test]
    fn memory_types_differ_to_everybody() {
        let all: Vec<_> = TYPES.iter().chain([&OTHER]).collect();
        for (n, one) in all.iter().enumerate() {
            for other in &all[..n] {
                let plain = distance(linear(one.fill), linear(other.fill));
                let seen = distance(to_a_deuteranope(one.fill), to_a_deuteranope(other.fill));
                let least = plain.min(seen);
                assert!(least >= LEAST_DISTANCE, "{} and {}: {plain:.0}, {seen:.0}", one.class, other.class);
            }
        }
    }

    /// Known values: black on white, and a pair of the simulation that a deuteranope confuses.
    #[test]
    fn the_measures_are_right() {
        assert!((contrast(Colour(0), WHITE) - 21.0).abs() < 0.01);
        assert!((contrast(Colour(0x76_7676), WHITE) - 4.54).abs() < 0.01);
        let (red, green) = (Colour(0xb0_4030), Colour(0x75_7533));
        let seen = distance(to_a_deuteranope(red), to_a_deuteranope(green));
        assert!(distance(linear(red), linear(green)) > 3.0 * seen, "{seen}");
        let grey = to_a_deuteranope(Colour(0x80_8080));
        assert!(distance(grey, linear(Colour(0x80_8080))) < 1.0, "grey stays grey");
    }

    #[test]
    fn each_type_has_its_colour() {
        let classes: Vec<_> = MemoryType::ALL.iter().map(|of| of_type(of.name()).class).collect();
        assert_eq!(classes, ["t0", "t1", "t2", "t3", "t4", "t5", "t6"]);
        assert_eq!(of_type("as stage 1").class, "tx");
        assert_eq!(of_type("t0").class, "tx", "a name from a report is no class");
    }
}

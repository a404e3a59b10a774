//! Closed sets of label values: each value is an enum variant with its name and its meaning, and nothing else can
//! become a label. `docs/metrics.md` and `docs/access-log.md` are made of the same lines.

/// A value out of a closed set, as it stands in a metric's label or in a log line.
pub trait Label: Copy + 'static {
    /// The label's name, such as `fault`.
    const NAME: &'static str;
    /// Every value, in order of declaration.
    const ALL: &'static [Self];

    fn as_str(self) -> &'static str;
    /// One sentence for the documentation.
    fn meaning(self) -> &'static str;
    /// Place in `ALL`.
    fn index(self) -> usize;
}

/// Declares an enum of label values: `Type("label") { /// meaning  Variant = "value", }`.
macro_rules! labels {
    ($(#[doc = $about:literal])* $type:ident($label:literal) {
        $(#[doc = $meaning:literal] $variant:ident = $value:literal,)*
    }) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type { $(#[doc = $meaning] $variant,)* }

        impl $type {
            /// As it stands in labels and log lines.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $value,)* }
            }
        }

        impl $crate::observe::Label for $type {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn as_str(self) -> &'static str {
                self.as_str()
            }
            fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning.trim_ascii(),)* }
            }
            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

pub(crate) use labels;

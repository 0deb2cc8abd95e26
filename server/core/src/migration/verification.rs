//! What a namespace has to show before it counts as moved.

/// How much of its pods is proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// Every pod is ready and was injected by the target.
    #[default]
    Injected,
    /// Beside that, every ready pod is connected to the target's istiod and has acknowledged all of its
    /// configuration.
    Connected,
}

impl Verification {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "INJECTED",
            Self::Connected => "CONNECTED",
        }
    }

    /// The one of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Injected, Self::Connected].into_iter().find(|it| it.as_str() == text)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexMode {
    Rewrite,
    Sparse,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignLayers {
    Skip,
    Copy,
}

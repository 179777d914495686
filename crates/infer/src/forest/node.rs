//! One node in memory: 8 bytes where it fits, 16 where the model is very wide or a tree very large.
//! The tree's layout is breadth first with adjacent children, so a node says where its left child
//! is, counted from itself; 0 marks a leaf.

/// What a node says, before packing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    /// Threshold, leaf value, or the bits of the index of a category set.
    pub(super) value: f32,
    pub(super) feature: u32,
    pub(super) default_left: bool,
    pub(super) categorical: bool,
    /// Distance to the left child, 0 for a leaf.
    pub(super) offset: u32,
}

/// How the walk reads a node.
pub(super) trait Node: Copy + Send + Sync {
    /// None when a part does not fit.
    fn pack(parts: Parts) -> Option<Self>;
    fn value(self) -> f32;
    fn feature(self) -> usize;
    fn default_left(self) -> bool;
    fn categorical(self) -> bool;
    fn offset(self) -> u32;
}

/// Value, then: offset (19 bits) | categorical | default left | feature (11 bits).
#[derive(Debug, Clone, Copy)]
pub(super) struct CompactNode {
    value: f32,
    packed: u32,
}

const FEATURE_BITS: u32 = 11;
const DEFAULT_LEFT: u32 = 1 << FEATURE_BITS;
const CATEGORICAL: u32 = 1 << (FEATURE_BITS + 1);
const OFFSET_SHIFT: u32 = FEATURE_BITS + 2;

impl Node for CompactNode {
    fn pack(parts: Parts) -> Option<Self> {
        if parts.feature >> FEATURE_BITS != 0 || parts.offset >> (u32::BITS - OFFSET_SHIFT) != 0 {
            return None;
        }
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        let flags = flag(parts.default_left, DEFAULT_LEFT) | flag(parts.categorical, CATEGORICAL);
        Some(Self {
            value: parts.value,
            packed: parts.offset << OFFSET_SHIFT | flags | parts.feature,
        })
    }

    #[inline(always)]
    fn value(self) -> f32 {
        self.value
    }

    #[inline(always)]
    fn feature(self) -> usize {
        (self.packed & (DEFAULT_LEFT - 1)) as usize
    }

    #[inline(always)]
    fn default_left(self) -> bool {
        self.packed & DEFAULT_LEFT != 0
    }

    #[inline(always)]
    fn categorical(self) -> bool {
        self.packed & CATEGORICAL != 0
    }

    #[inline(always)]
    fn offset(self) -> u32 {
        self.packed >> OFFSET_SHIFT
    }
}

/// For models with more than 2,048 features or trees with children more than 524,287 nodes away.
#[derive(Debug, Clone, Copy)]
pub(super) struct WideNode {
    value: f32,
    feature: u32,
    offset: u32,
    flags: u32,
}

impl Node for WideNode {
    fn pack(parts: Parts) -> Option<Self> {
        let flags = u32::from(parts.default_left) | u32::from(parts.categorical) << 1;
        Some(Self {
            value: parts.value,
            feature: parts.feature,
            offset: parts.offset,
            flags,
        })
    }

    #[inline(always)]
    fn value(self) -> f32 {
        self.value
    }

    #[inline(always)]
    fn feature(self) -> usize {
        self.feature as usize
    }

    #[inline(always)]
    fn default_left(self) -> bool {
        self.flags & 1 != 0
    }

    #[inline(always)]
    fn categorical(self) -> bool {
        self.flags & 2 != 0
    }

    #[inline(always)]
    fn offset(self) -> u32 {
        self.offset
    }
}

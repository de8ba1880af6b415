//! Typed, safe client of /dev/iommu

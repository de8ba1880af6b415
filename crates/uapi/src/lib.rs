//! Bytes and facts of the Linux IOMMU user API

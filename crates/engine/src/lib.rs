//! The IOMMU and its user API

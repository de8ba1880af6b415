//! A device under an iommufd, by its character device or through its group.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::context::Context;
use crate::device::Device;
use crate::function::Function;
use crate::hw::{DeviceState, PciState};
use crate::objects::ObjectId;
use crate::state::State;
use crate::{Engine, Refusal};

impl Engine {
    /// Puts a device under an iommufd, and makes it work (`vfio_df_device_first_open`).
    pub(super) fn bind(&self, index: usize, context: &Arc<Context>) -> Result<ObjectId, Refusal> {
        let mut owners = self.owners.lock();
        if owners.bound.contains(&index) {
            return Err(Refusal::Unfit { rule: "the device is bound through another descriptor" });
        }
        let function = &self.functions[index];
        if !function.hw.is_coherent() {
            return Err(Refusal::Unfit { rule: "the IOMMU's walks are not coherent" });
        }
        if !function.platform.isolated {
            return Err(Refusal::NotIsolated);
        }
        self.enable(function, || {
            owners.claim(index, function.facts.group, context)?;
            Ok(context.state.lock().add_device(function))
        })
    }

    /// Takes it away again, disabled and attached to nothing.
    pub(super) fn unbind(&self, index: usize, context: &Context, device: ObjectId) {
        context.state.lock().unbind(device);
        self.owners.lock().release(index, self.functions[index].facts.group);
    }
}

impl State {
    /// A device that is attached to nothing, with its owner as a user.
    pub(super) fn add_device(&mut self, function: &Function) -> ObjectId {
        let device = self.objects.add(Device {
            hw: Arc::clone(&function.hw),
            hw_state: DeviceState::Pci(PciState::new(Arc::clone(&function.facts))),
            requester: Arc::clone(&function.requester),
            group: Some(function.facts.group),
            vdevice: None,
            attached: BTreeMap::new(),
        });
        self.objects.hold(device);
        self.objects.publish(device);
        device
    }
}

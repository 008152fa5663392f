// A kernel module that does for a platform device what drivers of some bus masters do for their own (exynos_drm,
// omap3isp): it makes a mapping of IOVAs and attaches the device to it, before arch_setup_dma_ops could make one. The
// device's own driver is bound afterwards. The mapping is never given back: the module is not unloaded.
//
// This file may also be had under the GNU General Public License, version 2, as it says at its end.

#define pr_fmt(text) KBUILD_MODNAME ": " text

#include <linux/device.h>
#include <linux/err.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/sizes.h>

#include <asm/dma-iommu.h>

// Where the IOVAs begin: elsewhere than those of arch_setup_dma_ops, which begin at 0, and not where RAM is.
enum { FIRST = 0x40000000 };

static char *device;
module_param(device, charp, 0);

static int __init own_mapping(void)
{
	struct dma_iommu_mapping *mapping;
	struct device *master;
	int error;

	master = bus_find_device_by_name(&platform_bus_type, NULL, device);
	if (!master)
		return -ENODEV;
	mapping = arm_iommu_create_mapping(&platform_bus_type, FIRST, SZ_1G);
	if (IS_ERR(mapping)) {
		put_device(master);
		return PTR_ERR(mapping);
	}
	error = arm_iommu_attach_device(master, mapping);
	if (error)
		arm_iommu_release_mapping(mapping);
	put_device(master);
	return error;
}
module_init(own_mapping);

MODULE_DESCRIPTION("Attaches a device to a mapping of its own");
MODULE_LICENSE("Dual BSD/GPL");

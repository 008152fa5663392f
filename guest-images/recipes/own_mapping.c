// A kernel module that attaches platform devices to mappings of IOVAs of its own making, as drivers of some bus masters
// do for their devices (exynos-drm, omap3isp), and the drivers of some IOMMUs for devices behind them. A device keeps its
// own driver. The module is not unloaded.
//
// This file may also be had under the GNU General Public License, version 2, as it says at its end.

#define pr_fmt(text) KBUILD_MODNAME ": " text

#include <linux/device.h>
#include <linux/err.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/platform_device.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <linux/version.h>

#include <asm/dma-iommu.h>

// Where the IOVAs begin: elsewhere than those of arch_setup_dma_ops, which begin at 0, and not where RAM is.
enum { FIRST = 0x40000000 };

static char *attached[8];
static unsigned int attached_count;
module_param_array_named(attach, attached, charp, &attached_count, 0);
MODULE_PARM_DESC(attach, "names of devices that are attached now, and stay so");

static char *replaced[8];
static unsigned int replaced_count;
module_param_array_named(replace, replaced, charp, &replaced_count, 0);
MODULE_PARM_DESC(replace, "names of devices that are attached whenever they get a driver, until it goes");

static struct dma_iommu_mapping *create(struct device *device)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	return arm_iommu_create_mapping(device, FIRST, SZ_1G);
#else
	return arm_iommu_create_mapping(&platform_bus_type, FIRST, SZ_1G);
#endif
}

static int attach(struct device *device)
{
	struct dma_iommu_mapping *mapping;
	int error;

	mapping = create(device);
	if (IS_ERR(mapping))
		return PTR_ERR(mapping);
	error = arm_iommu_attach_device(device, mapping);
	if (error)
		arm_iommu_release_mapping(mapping);
	return error;
}

// Gives up the mapping that the device is attached to, whoever made it.
static void detach(void *opaque)
{
	struct device *device = opaque;
	struct dma_iommu_mapping *mapping = to_dma_iommu_mapping(device);

	if (!mapping)
		return;
	arm_iommu_detach_device(device);
	arm_iommu_release_mapping(mapping);
}

// Replaces what arch_setup_dma_ops made, as a driver does at the beginning of its probe. What is undone when the driver
// goes, or its probe fails, is undone before arch_teardown_dma_ops.
static int replace(struct device *device)
{
	int error;

	detach(device);
	error = attach(device);
	if (error)
		return error;
	return devm_add_action_or_reset(device, detach, device);
}

static int binds(struct notifier_block *block, unsigned long event, void *device)
{
	unsigned int i;

	if (event != BUS_NOTIFY_BIND_DRIVER)
		return NOTIFY_DONE;
	for (i = 0; i < replaced_count; i++)
		if (!strcmp(dev_name(device), replaced[i]) && replace(device))
			pr_err("%s was not attached\n", replaced[i]);
	return NOTIFY_OK;
}

static struct notifier_block notifier = {
	.notifier_call = binds,
};

static int __init own_mapping(void)
{
	unsigned int i;

	for (i = 0; i < attached_count; i++) {
		struct device *device = bus_find_device_by_name(&platform_bus_type, NULL, attached[i]);
		int error = device ? attach(device) : -ENODEV;

		put_device(device);
		if (error)
			return error;
	}
	return bus_register_notifier(&platform_bus_type, &notifier);
}
module_init(own_mapping);

MODULE_DESCRIPTION("Attaches devices to mappings of its own");
MODULE_LICENSE("Dual BSD/GPL");

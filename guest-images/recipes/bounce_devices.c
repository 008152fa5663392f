// A kernel module that registers platform devices with dmabounce, as the platform code of some SoCs did for those of
// their devices that reach a part of RAM only (SA-1111, IXP4xx): a notifier of the bus does it when a device is added,
// before a driver is bound to it and its DMA is set up. Devices that are there when the module is loaded are registered
// then. A device stays registered: the module is not unloaded.
//
// This file may also be had under the GNU General Public License, version 2, as it says at its end.

#define pr_fmt(text) KBUILD_MODNAME ": " text

#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/platform_device.h>
#include <linux/string.h>

#include <asm/dma-mapping.h>
#include <asm/memory.h>

// Sizes of the two kinds of buffers that dmabounce keeps for a device; larger ones are allocated one by one.
enum { SMALL = 512, LARGE = 4096 };

static char *devices[8];
static unsigned int count;
module_param_array(devices, charp, &count, 0);
MODULE_PARM_DESC(devices, "names of the devices");

static unsigned int window;
module_param(window, uint, 0);
MODULE_PARM_DESC(window, "how much of RAM they reach from its beginning, in MiB");

static int is_beyond(struct device *device, dma_addr_t address, size_t size)
{
	u64 end = (u64)address - PHYS_OFFSET + size;

	return end > (u64)window << 20;
}

static int bounce(struct device *device, void *unused)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (strcmp(dev_name(device), devices[i]))
			continue;
		// Twice would be to begin anew, with another list of what is bounced.
		if (device->archdata.dmabounce)
			return 0;
		return dmabounce_register_dev(device, SMALL, LARGE, is_beyond);
	}
	return 0;
}

static int added(struct notifier_block *block, unsigned long event, void *device)
{
	if (event == BUS_NOTIFY_ADD_DEVICE && bounce(device, NULL))
		pr_err("%s was not registered\n", dev_name(device));
	return NOTIFY_OK;
}

static struct notifier_block notifier = {
	.notifier_call = added,
};

static int __init bounce_devices(void)
{
	int error;

	error = bus_register_notifier(&platform_bus_type, &notifier);
	if (error)
		return error;
	error = bus_for_each_dev(&platform_bus_type, NULL, NULL, bounce);
	if (error)
		bus_unregister_notifier(&platform_bus_type, &notifier);
	return error;
}
module_init(bounce_devices);

MODULE_DESCRIPTION("Registers devices with dmabounce");
MODULE_LICENSE("Dual BSD/GPL");

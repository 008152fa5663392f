// A kernel module that makes one mistake with the DMA API on behalf of a platform device, as it is loaded. Its
// parameters are the device's name and the mistake's.
//
// This file may also be had under the GNU General Public License, version 2, as it says at its end.

#define pr_fmt(text) KBUILD_MODNAME ": " text

#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/string.h>

#define BYTES 512

static char *device = "";
module_param(device, charp, 0);
static char *mistake = "";
module_param(mistake, charp, 0);

static dma_addr_t map(struct device *dev, void *buffer, enum dma_data_direction direction)
{
	dma_addr_t address = dma_map_single(dev, buffer, BYTES, direction);

	if (dma_mapping_error(dev, address))
		panic("no room for %s", mistake);
	return address;
}

static void map_twice(struct device *dev, void *buffer)
{
	dma_addr_t first = map(dev, buffer, DMA_FROM_DEVICE);
	dma_addr_t second = map(dev, buffer, DMA_FROM_DEVICE);

	dma_unmap_single(dev, second, BYTES, DMA_FROM_DEVICE);
	dma_unmap_single(dev, first, BYTES, DMA_FROM_DEVICE);
}

// What the device only reads may be mapped again.
static void read_twice(struct device *dev, void *buffer)
{
	dma_addr_t first = map(dev, buffer, DMA_TO_DEVICE);
	dma_addr_t second = map(dev, buffer, DMA_TO_DEVICE);

	dma_unmap_single(dev, second, BYTES, DMA_TO_DEVICE);
	dma_unmap_single(dev, first, BYTES, DMA_TO_DEVICE);
}

static void unmap_twice(struct device *dev, void *buffer)
{
	dma_addr_t address = map(dev, buffer, DMA_TO_DEVICE);

	dma_unmap_single(dev, address, BYTES, DMA_TO_DEVICE);
	dma_unmap_single(dev, address, BYTES, DMA_TO_DEVICE);
}

static void unmap_less(struct device *dev, void *buffer)
{
	dma_unmap_single(dev, map(dev, buffer, DMA_TO_DEVICE), BYTES / 2, DMA_TO_DEVICE);
}

static void map_list(struct device *dev, void *buffer)
{
	struct scatterlist list[2];

	sg_init_table(list, 2);
	sg_set_buf(&list[0], buffer, BYTES);
	sg_set_buf(&list[1], (char *)buffer + PAGE_SIZE, BYTES);
	if (!dma_map_sg(dev, list, 2, DMA_TO_DEVICE))
		panic("no room for %s", mistake);
	if (!strcmp(mistake, "list"))
		dma_unmap_sg(dev, list, 2, DMA_TO_DEVICE);
}

static void leak_coherent(struct device *dev)
{
	dma_addr_t address;

	if (!dma_alloc_coherent(dev, BYTES, &address, GFP_KERNEL))
		panic("no room for %s", mistake);
}

// The memory of a buffer is given back while the device has it.
static void free_early(struct device *dev)
{
	unsigned long page = __get_free_page(GFP_KERNEL);
	dma_addr_t address = map(dev, (void *)page, DMA_TO_DEVICE);

	free_page(page);
	dma_unmap_single(dev, address, BYTES, DMA_TO_DEVICE);
}

static int __init dma_mistakes(void)
{
	struct device *dev = bus_find_device_by_name(&platform_bus_type, NULL, device);
	void *buffer = (void *)__get_free_pages(GFP_KERNEL, 1);

	if (!dev || !buffer)
		return -ENODEV;
	if (!strcmp(mistake, "map-twice"))
		map_twice(dev, buffer);
	else if (!strcmp(mistake, "read-twice"))
		read_twice(dev, buffer);
	else if (!strcmp(mistake, "unmap-twice"))
		unmap_twice(dev, buffer);
	else if (!strcmp(mistake, "unmap-less"))
		unmap_less(dev, buffer);
	else if (!strcmp(mistake, "leak"))
		map(dev, buffer, DMA_TO_DEVICE);
	else if (!strcmp(mistake, "leak-coherent"))
		leak_coherent(dev);
	else if (!strcmp(mistake, "list") || !strcmp(mistake, "leak-list"))
		map_list(dev, buffer);
	else if (!strcmp(mistake, "free-early"))
		free_early(dev);
	else
		return -EINVAL;
	put_device(dev);
	return 0;
}
module_init(dma_mistakes);

static void __exit dma_mistakes_end(void)
{
}
module_exit(dma_mistakes_end);

MODULE_DESCRIPTION("Mistakes with the DMA API");
MODULE_LICENSE("Dual BSD/GPL");

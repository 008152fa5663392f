// A kernel module that makes one mistake with the DMA API on behalf of a platform device, as it is loaded. Its
// parameters are the device's name and the mistake's.
//
// This file may also be had under the GNU General Public License, version 2, as it says at its end.

#define pr_fmt(text) KBUILD_MODNAME ": " text

#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
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

// One block of a pool is freed twice, and one is left.
static void free_block_twice(struct device *dev)
{
	struct dma_pool *pool = dma_pool_create("mistakes", dev, 48, 64, 0);
	dma_addr_t first, second;
	void *block;

	if (!pool)
		panic("no room for %s", mistake);
	block = dma_pool_alloc(pool, GFP_KERNEL, &first);
	if (!block || !dma_pool_alloc(pool, GFP_KERNEL, &second))
		panic("no room for %s", mistake);
	dma_pool_free(pool, block, first);
	dma_pool_free(pool, block, first);
}

// The memory of a buffer is given back while the device has it.
static void free_early(struct device *dev)
{
	unsigned long page = __get_free_page(GFP_KERNEL);
	dma_addr_t address = map(dev, (void *)page, DMA_TO_DEVICE);

	free_page(page);
	dma_unmap_single(dev, address, BYTES, DMA_TO_DEVICE);
}

static void kfree_early(struct device *dev)
{
	void *buffer = kmalloc(BYTES, GFP_KERNEL);
	dma_addr_t address;

	if (!buffer)
		panic("no room for %s", mistake);
	address = map(dev, buffer, DMA_TO_DEVICE);
	kfree(buffer);
	dma_unmap_single(dev, address, BYTES, DMA_TO_DEVICE);
}

static void cache_early(struct device *dev)
{
	struct kmem_cache *cache = kmem_cache_create("mistakes", BYTES, BYTES, 0, NULL);
	void *buffer = cache ? kmem_cache_alloc(cache, GFP_KERNEL) : NULL;
	dma_addr_t address;

	if (!buffer)
		panic("no room for %s", mistake);
	address = map(dev, buffer, DMA_TO_DEVICE);
	kmem_cache_free(cache, buffer);
	dma_unmap_single(dev, address, BYTES, DMA_TO_DEVICE);
	kmem_cache_destroy(cache);
}

// The CPU's accesses are what counts: none of them may be left out, or be another's.
static noinline void touch(void *at)
{
	WRITE_ONCE(*(u32 *)at, 7);
}

static noinline void look(void *at)
{
	READ_ONCE(*(u32 *)at);
}

static void write_owned(struct device *dev, void *buffer)
{
	dma_addr_t address = map(dev, buffer, DMA_TO_DEVICE);

	look(buffer);
	touch(buffer + BYTES - 4);
	dma_unmap_single(dev, address, BYTES, DMA_TO_DEVICE);
}

static void read_owned(struct device *dev, void *buffer)
{
	dma_addr_t address = map(dev, buffer, DMA_FROM_DEVICE);

	look(buffer + BYTES);
	look(buffer + 4);
	dma_unmap_single(dev, address, BYTES, DMA_FROM_DEVICE);
}

// Two owners in one cache line: the device has its middle.
static void share_line(struct device *dev, void *buffer)
{
	dma_addr_t address = dma_map_single(dev, buffer + 16, 16, DMA_FROM_DEVICE);

	if (dma_mapping_error(dev, address))
		panic("no room for %s", mistake);
	look(buffer);
	touch(buffer + 64);
	touch(buffer + 32);
	dma_unmap_single(dev, address, 16, DMA_FROM_DEVICE);
}

static void sync_part(struct device *dev, void *buffer)
{
	dma_addr_t address = map(dev, buffer, DMA_BIDIRECTIONAL);

	dma_sync_single_for_cpu(dev, address + 64, 64, DMA_BIDIRECTIONAL);
	touch(buffer + 64);
	look(buffer + 124);
	dma_sync_single_for_device(dev, address + 64, 64, DMA_BIDIRECTIONAL);
	if (!strcmp(mistake, "write-synced"))
		touch(buffer + 64);
	dma_unmap_single(dev, address, BYTES, DMA_BIDIRECTIONAL);
	touch(buffer);
}

static void sync_list(struct device *dev, void *buffer)
{
	struct scatterlist list[2];

	sg_init_table(list, 2);
	sg_set_buf(&list[0], buffer, BYTES);
	sg_set_buf(&list[1], (char *)buffer + PAGE_SIZE, BYTES);
	if (!dma_map_sg(dev, list, 2, DMA_FROM_DEVICE))
		panic("no room for %s", mistake);
	dma_sync_sg_for_cpu(dev, list, 2, DMA_FROM_DEVICE);
	touch(buffer + PAGE_SIZE);
	dma_sync_sg_for_device(dev, list, 2, DMA_FROM_DEVICE);
	if (!strcmp(mistake, "read-list"))
		look(buffer + PAGE_SIZE);
	dma_unmap_sg(dev, list, 2, DMA_FROM_DEVICE);
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
	else if (!strcmp(mistake, "free-block-twice"))
		free_block_twice(dev);
	else if (!strcmp(mistake, "free-early"))
		free_early(dev);
	else if (!strcmp(mistake, "kfree-early"))
		kfree_early(dev);
	else if (!strcmp(mistake, "cache-early"))
		cache_early(dev);
	else if (!strcmp(mistake, "write-owned"))
		write_owned(dev, buffer);
	else if (!strcmp(mistake, "read-owned"))
		read_owned(dev, buffer);
	else if (!strcmp(mistake, "share-line"))
		share_line(dev, buffer);
	else if (!strcmp(mistake, "sync") || !strcmp(mistake, "write-synced"))
		sync_part(dev, buffer);
	else if (!strcmp(mistake, "sync-list") || !strcmp(mistake, "read-list"))
		sync_list(dev, buffer);
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

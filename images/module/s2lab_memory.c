// SPDX-License-Identifier: GPL-2.0-only
/*
 * VMAs of any kind, for the built-in VMM of s2lab.
 *
 * A process opens /dev/s2lab-memory and writes one line to it:
 *
 *	KIND PGPROT MARK START SIZE
 *
 * KIND is pfnmap or mixedmap; PGPROT is write-back, write-combine, device or noncached; MARK is marked or unmarked.
 * START and SIZE are hexadecimal: memory without a struct page, such as a BAR. Both are 0 for pages of RAM, which the
 * file owns until it is closed. Each mapping of the file then is a VMA of that kind. A private one is for
 * copy-on-write.
 */
#include <linux/bits.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/version.h>

/* VM_ALLOW_ANY_UNCACHED (Linux 6.9 include/linux/mm.h). Older kernels use the bit for nothing, and KVM ignores it. */
#define MARK BIT(39)

enum kind { PFNMAP, MIXEDMAP };
enum prot { WRITE_BACK, WRITE_COMBINE, DEVICE, NONCACHED };

static const char * const kinds[] = { "pfnmap", "mixedmap" };
static const char * const prots[] = { "write-back", "write-combine", "device", "noncached" };
static const char * const marks[] = { "unmarked", "marked" };

struct memory {
	bool is_known;
	int kind, prot, mark;
	u64 start, size;
	struct page **pages;
	unsigned long count;
};

static void set_flags(struct vm_area_struct *vma, unsigned long flags)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
	vma->vm_flags |= flags;
#else
	vm_flags_set(vma, flags);
#endif
}

static int place(const char * const *words, int count, const char *word)
{
	int i;

	for (i = 0; i < count; i++)
		if (!strcmp(words[i], word))
			return i;
	return -EINVAL;
}

static int memory_open(struct inode *inode, struct file *file)
{
	file->private_data = kzalloc(sizeof(struct memory), GFP_KERNEL);
	return file->private_data ? 0 : -ENOMEM;
}

static int memory_release(struct inode *inode, struct file *file)
{
	struct memory *memory = file->private_data;

	/* All mappings have gone: each of them holds the file. */
	while (memory->count)
		put_page(memory->pages[--memory->count]);
	kvfree(memory->pages);
	kfree(memory);
	return 0;
}

static ssize_t memory_write(struct file *file, const char __user *from, size_t length, loff_t *at)
{
	struct memory *memory = file->private_data;
	char line[96], kind[16], prot[16], mark[16];

	if (memory->is_known)
		return -EBUSY;
	if (length >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, from, length))
		return -EFAULT;
	line[length] = 0;
	if (sscanf(line, "%15s %15s %15s %llx %llx", kind, prot, mark, &memory->start, &memory->size) != 5)
		return -EINVAL;
	memory->kind = place(kinds, ARRAY_SIZE(kinds), kind);
	memory->prot = place(prots, ARRAY_SIZE(prots), prot);
	memory->mark = place(marks, ARRAY_SIZE(marks), mark);
	if (memory->kind < 0 || memory->prot < 0 || memory->mark < 0)
		return -EINVAL;
	if (!PAGE_ALIGNED(memory->start) || memory->start + memory->size < memory->start)
		return -EINVAL;
	memory->is_known = true;
	return length;
}

static int map_device(struct memory *memory, struct vm_area_struct *vma)
{
	unsigned long length = vma->vm_end - vma->vm_start, done;
	unsigned long pages = PAGE_ALIGN(memory->size) >> PAGE_SHIFT;
	unsigned long pfn = (memory->start >> PAGE_SHIFT) + vma->vm_pgoff;

	if (vma->vm_pgoff > pages || vma_pages(vma) > pages - vma->vm_pgoff)
		return -EINVAL;
	for (done = 0; done < vma_pages(vma); done++)
		if (pfn_valid(pfn + done))
			return -EINVAL;
	/* As vfio-pci in 6.1 and sysfs: KVM in 6.1 takes the size of a block from it (mmu.c, get_vma_page_shift). */
	vma->vm_pgoff = pfn;
	if (memory->kind == PFNMAP)
		return remap_pfn_range(vma, vma->vm_start, pfn, length, vma->vm_page_prot);
	/* Pages without a struct page cannot be copied. */
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	/* KVM asks only VMAs of I/O for such pages (Linux 6.1 and 6.12 virt/kvm/kvm_main.c, hva_to_pfn). */
	set_flags(vma, VM_IO | VM_MIXEDMAP | VM_DONTEXPAND | VM_DONTDUMP);
	for (done = 0; done < length; done += PAGE_SIZE)
		if (vmf_insert_pfn(vma, vma->vm_start + done, pfn + (done >> PAGE_SHIFT)) != VM_FAULT_NOPAGE)
			return -EFAULT;
	return 0;
}

static int map_ram(struct memory *memory, struct vm_area_struct *vma)
{
	unsigned long number, count = vma_pages(vma);
	int error = 0;

	if (memory->pages)
		return -EBUSY;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	memory->pages = kvcalloc(count, sizeof(*memory->pages), GFP_KERNEL);
	if (!memory->pages)
		return -ENOMEM;
	if (memory->kind == MIXEDMAP)
		set_flags(vma, VM_MIXEDMAP | VM_DONTEXPAND | VM_DONTDUMP);
	for (number = 0; number < count && !error; number++) {
		unsigned long at = vma->vm_start + (number << PAGE_SHIFT);
		struct page *page = alloc_page(GFP_USER | __GFP_ZERO);

		if (!page)
			return -ENOMEM;
		memory->pages[memory->count++] = page;
		if (memory->kind == PFNMAP)
			error = remap_pfn_range(vma, at, page_to_pfn(page), PAGE_SIZE, vma->vm_page_prot);
		else
			error = vm_insert_page(vma, at, page);
	}
	/* The pages are anywhere. KVM in 6.1 must not make a block of them, see above. */
	vma->vm_pgoff = (vma->vm_start >> PAGE_SHIFT) + 1;
	return error;
}

static int memory_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct memory *memory = file->private_data;

	if (!memory->is_known)
		return -EINVAL;
	switch (memory->prot) {
	case WRITE_COMBINE:
		vma->vm_page_prot = pgprot_writecombine(vma->vm_page_prot);
		break;
	case DEVICE:
		vma->vm_page_prot = pgprot_device(vma->vm_page_prot);
		break;
	case NONCACHED:
		vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
		break;
	}
	if (memory->mark)
		set_flags(vma, MARK);
	return memory->size ? map_device(memory, vma) : map_ram(memory, vma);
}

static const struct file_operations memory_operations = {
	.owner = THIS_MODULE,
	.open = memory_open,
	.release = memory_release,
	.write = memory_write,
	.mmap = memory_mmap,
};

static struct miscdevice memory_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "s2lab-memory",
	.fops = &memory_operations,
	.mode = 0600,
};

module_misc_device(memory_device);
MODULE_DESCRIPTION("VMAs of any kind, for a lab of stage-2 memory types");
MODULE_LICENSE("GPL");

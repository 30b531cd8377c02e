package chaoslab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"healer/chaos/fault"
)

// A process asks the time of a function that the kernel maps into it, the vDSO's
// clock_gettime. Its page is the process's own as soon as somebody writes to it, so a
// debugger can put other code there: the system call, and for the wall clock a number
// of seconds added to what it says. The monotonic clock stays right.

// clockAble says why clocks cannot be stepped here.
func clockAble() error {
	if runtime.GOARCH != "amd64" {
		return fault.Unable("the code for a clock that is wrong is for x86-64", "run on such a machine")
	}
	return nil
}

// wrongClock is clock_gettime(edi clock, rsi result) with an offset in seconds.
func wrongClock(offset time.Duration) []byte {
	code := []byte{
		0xb8, 228, 0, 0, 0, // mov eax, SYS_clock_gettime
		0x0f, 0x05, // syscall
		0x85, 0xff, // test edi, edi: CLOCK_REALTIME is 0
		0x75, 13, // jne end
		0x49, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, // mov r11, seconds
		0x4c, 0x01, 0x1e, // add [rsi], r11
		0xc3, // end: ret
	}
	binary.LittleEndian.PutUint64(code[13:], uint64(int64(offset/time.Second)))
	return code
}

// setClock makes the clock of a stopped process wrong by the offset, or right again.
// It is busy while a thread is inside the code.
func setClock(pid int, offset time.Duration) (busy bool, err error) {
	if err := clockAble(); err != nil {
		return false, err
	}
	begin, image, err := vdso(pid)
	if err != nil {
		return false, fmt.Errorf("the clock of process %d: %w", pid, err)
	}
	right, err := ownVDSO()
	if err != nil {
		return false, err
	}
	at, err := clockSymbol(right)
	if err != nil {
		return false, err
	}
	code := wrongClock(offset)
	if offset == 0 {
		code = right[at : at+len(code)]
	}
	if busy, err = inside(pid, begin+uint64(at), len(code)); busy || err != nil {
		return busy, err
	}
	if bytes.Equal(image[at:at+len(code)], code) {
		return false, nil
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return false, fault.Unable(err.Error(), "run as root, or allow tracing of children (kernel.yama.ptrace_scope <= 1)")
	}
	defer mem.Close() //nolint:errcheck // what counts is the write
	if _, err := mem.WriteAt(code, int64(begin)+int64(at)); err != nil {
		return false, fmt.Errorf("the clock of process %d: %w", pid, err)
	}
	return false, nil
}

// ownVDSO is the code as the kernel has it.
func ownVDSO() ([]byte, error) {
	_, image, err := vdso(os.Getpid())
	return image, err
}

// vdso reads what the kernel maps into a process.
func vdso(pid int) (begin uint64, image []byte, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, nil, err
	}
	for line := range strings.Lines(string(maps)) {
		if !strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			continue
		}
		span, _, _ := strings.Cut(line, " ")
		from, to, _ := strings.Cut(span, "-")
		begin, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err := errors.Join(err1, err2); err != nil {
			return 0, nil, err
		}
		mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
		if err != nil {
			return 0, nil, err
		}
		defer mem.Close() //nolint:errcheck // it is only read
		image = make([]byte, end-begin)
		_, err = io.ReadFull(io.NewSectionReader(mem, int64(begin), int64(end-begin)), image)
		return begin, image, err
	}
	return 0, nil, errors.New("the kernel maps no vDSO into it")
}

// clockSymbol is where in the image the function begins. The image is an ELF file whose
// table of dynamic symbols is read by hand: debug/elf would make the program a megabyte
// larger.
func clockSymbol(image []byte) (int, error) {
	const (
		name     = "__vdso_clock_gettime\x00"
		dynsym   = 11 // SHT_DYNSYM
		symSize  = 24
		sections = 0x28 // where the header says where the table of sections is
	)
	le := binary.LittleEndian
	if len(image) < 64 || string(image[:4]) != "\x7fELF" {
		return 0, errors.New("the vDSO is no ELF image")
	}
	at, size, count := le.Uint64(image[sections:]), uint64(le.Uint16(image[0x3a:])), uint64(le.Uint16(image[0x3c:]))
	section := func(i uint64) []byte {
		from := at + i*size
		if size < 64 || i >= count || from+size > uint64(len(image)) {
			return nil
		}
		return image[from : from+size]
	}
	content := func(header []byte) []byte {
		if header == nil {
			return nil
		}
		from, length := le.Uint64(header[24:]), le.Uint64(header[32:])
		if from+length > uint64(len(image)) {
			return nil
		}
		return image[from : from+length]
	}
	for i := range count {
		h := section(i)
		if h == nil || le.Uint32(h[4:]) != dynsym {
			continue
		}
		symbols, texts := content(h), content(section(uint64(le.Uint32(h[40:]))))
		for ; len(symbols) >= symSize; symbols = symbols[symSize:] {
			text, value := uint64(le.Uint32(symbols)), le.Uint64(symbols[8:])
			if text < uint64(len(texts)) && bytes.HasPrefix(texts[text:], []byte(name)) && value+64 < uint64(len(image)) {
				return int(value), nil
			}
		}
	}
	return 0, errors.New("the vDSO has no clock_gettime")
}

// inside reports whether a thread of the stopped process is in the middle of the code:
// the last two words of its "syscall" file are its stack and where it stands.
func inside(pid int, at uint64, size int) (bool, error) {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return false, err
	}
	for _, t := range threads {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/syscall", pid, t.Name()))
		if err != nil {
			return false, err
		}
		words := strings.Fields(string(b))
		last := words[len(words)-1]
		if last == "running" {
			return true, nil
		}
		pc, err := strconv.ParseUint(strings.TrimPrefix(last, "0x"), 16, 64)
		if err != nil {
			return false, err
		}
		if pc >= at && pc < at+uint64(size)+64 {
			return true, nil
		}
	}
	return false, nil
}

/** Converts attached files to message parts that contain the file's content. */

import type { FilePart } from "../wire/types.ts";

/** Bytes per file: by default a message may have one mebibyte, and base64 adds a third. */
const LARGEST = 700_000;
/** Pixels of the longer side of an image after it was made smaller. */
const LONGEST_SIDE = 1_600;

/** Throws an error whose message is shown to the user. */
export async function attached(file: File): Promise<FilePart> {
  const small = file.size > LARGEST && file.type.startsWith("image/") ? await smaller(file) : file;
  if (small.size > LARGEST) {
    throw new Error(`${file.name} is too large: the limit is ${LARGEST / 1000} kB per file.`);
  }
  return {
    type: "file",
    mediaType: small.type || "application/octet-stream",
    url: await dataAddress(small),
    filename: file.name,
  };
}

/** Reduce the size of an image, and its quality step by step until it fits. */
async function smaller(file: File): Promise<Blob> {
  try {
    const image = await createImageBitmap(file);
    const scale = Math.min(1, LONGEST_SIDE / Math.max(image.width, image.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(image.width * scale);
    canvas.height = Math.round(image.height * scale);
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    let made: Blob = file;
    for (let quality = 0.85; quality > 0.1 && made.size > LARGEST; quality -= 0.15) {
      made = await new Promise<Blob>((done) =>
        canvas.toBlob((blob) => done(blob ?? file), "image/jpeg", quality),
      );
    }
    return made;
  } catch {
    return file; // not a valid image
  }
}

function dataAddress(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(new Error("The file cannot be read."));
    reader.readAsDataURL(blob);
  });
}
